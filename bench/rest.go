package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/vspawn/vspawn/vspawn"
	"github.com/vspawn/vspawn/vspawn/exec"
)

const pauseTime = 500 * time.Millisecond

// pauses measures what a ticker and the collector feel of starts at full speed.
func pauses(e *environment, f *figure) error {
	was := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(was)
	nothing := way{name: "nothing", once: func() error { time.Sleep(time.Millisecond); return nil }}
	for _, procs := range []int{1, 2} {
		runtime.GOMAXPROCS(procs)
		rounds := max(e.rounds/10, 5)
		for round := range rounds {
			for _, w := range append(e.compared(), nothing) {
				ticker, gc, err := felt(w)
				if err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				if err := e.ctx.Err(); err != nil {
					return err
				}
				f.add(w.name, fmt.Sprint(procs), "ticker", ticker.Seconds()*1e3)
				f.add(w.name, fmt.Sprint(procs), "GC", gc.Seconds()*1e3)
			}
			progress(fmt.Sprint("GOMAXPROCS ", procs), round+1, rounds)
		}
	}
	return nil
}

// felt is the longest delay of a ticker and the longest collection beside a way.
func felt(w way) (ticker, gc time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), pauseTime)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil && err == nil {
			err = w.once()
		}
	})
	group.Go(func() {
		const every = time.Millisecond
		t := time.NewTicker(every)
		defer t.Stop()
		for last := time.Now(); ctx.Err() == nil; {
			<-t.C
			now := time.Now()
			ticker = max(ticker, now.Sub(last)-every)
			last = now
		}
	})
	for ctx.Err() == nil {
		begin := time.Now()
		runtime.GC()
		gc = max(gc, time.Since(begin))
		time.Sleep(10 * time.Millisecond)
	}
	group.Wait()
	return ticker, gc, err
}

// waits has a process of its own wait for children, with each way.
func waits(e *environment, f *figure) error {
	for _, n := range []int{100, 1000, 4000} {
		for _, name := range []string{plan, ours, theirs} {
			kib, threads, err := waitedFor(e, name, n)
			if err != nil {
				return fmt.Errorf("%s, %d: %w", name, n, err)
			}
			f.add(name, fmt.Sprint(n), "threads", float64(threads))
			f.add(name, fmt.Sprint(n), "memory", kib/float64(n))
		}
		progress(fmt.Sprint(n, " waits"), 1, 1)
	}
	return nil
}

// sleepersName is the first argument of this program where it is to wait for children.
const sleepersName = "wait-for-children"

// waitedFor gives the memory that the waits of a process take, and its threads.
func waitedFor(e *environment, way string, n int) (kib float64, threads int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, 0, err
	}
	cmd := osexec.CommandContext(e.ctx, self, sleepersName, way)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	defer func() {
		in.Close()
		err = errors.Join(err, cmd.Wait())
	}()
	answers := bufio.NewReader(out)
	var before, after int
	if _, err = fmt.Fscan(answers, &before); err == nil {
		fmt.Fprintln(in, n, e.sleep)
		_, err = fmt.Fscan(answers, &after, &threads)
	}
	return float64(after - before), threads, err
}

// sleepers is the program that waits: it tells what memory it has before and after.
func sleepers(way string) int {
	measured := func() (kib, threads int) {
		runtime.GC()
		return residentKiB(os.Getpid())
	}
	kib, _ := measured()
	fmt.Println(kib)
	var n int
	var path string
	if _, err := fmt.Scan(&n, &path); err != nil {
		return 1
	}
	var kill []func() error
	var group sync.WaitGroup
	for range n {
		k, wait, err := sleeper(way, path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			break
		}
		kill = append(kill, k)
		group.Go(func() { wait() })
	}
	time.Sleep(time.Second) // until all of them wait
	kib, threads := measured()
	fmt.Println(kib, threads)
	fmt.Scan(new(string)) // until its input ends
	for _, k := range kill {
		k()
	}
	group.Wait()
	if len(kill) < n {
		return 1
	}
	return 0
}

func sleeper(way, path string) (kill, wait func() error, err error) {
	switch way {
	case plan:
		p, err := vspawn.Start(context.Background(), path, nil, nil)
		return func() error { return p.Kill() }, func() error { _, err := p.Wait(context.Background()); return err }, err
	case ours:
		c := exec.Command(path)
		err = c.Start()
		return func() error { return c.Process.Kill() }, c.Wait, err
	case theirs:
		c := osexec.Command(path)
		err = c.Start()
		return func() error { return c.Process.Kill() }, c.Wait, err
	}
	return nil, nil, errors.New("no way " + strconv.Quote(way))
}
