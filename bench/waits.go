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
