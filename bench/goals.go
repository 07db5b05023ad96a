package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A goal is what is measured, and how it is shown.
type goal struct {
	name, title string
	text        string // what was done
	aim         string
	measure     func(e *environment, f *figure) error
	x           string // what varies
	quantities  []quantity
}

// A quantity is what a goal's page shows, a table each.
type quantity struct {
	name, unit string
	ratioTo    string // a way; else the values themselves
	flat       bool   // the last of Xs is compared with the first
}

var goals = []goal{
	{name: "latency", title: "a start and a wait, alone",
		text: "Each way starts a static child of some instructions and waits for it, 20 times a round, in turns.",
		aim: "vspawn at most 1.12 of C's vfork, its Run 1.05, vspawn/exec 1.20, and below posix_spawn, ForkExec, " +
			"os.StartProcess and os/exec, by the median and by p99",
		measure:    latency,
		quantities: []quantity{{name: "p50", unit: "µs"}, {name: "p50", ratioTo: base}, {name: "p99", unit: "µs"}}},
	{name: "guests", title: "a start and a wait, in guests", x: "(QEMU)",
		text:       "As above, 10 times a round, on Linux 6.12 under QEMU without KVM: the mean of each round.",
		aim:        "the ratios of this machine",
		measure:    guests,
		quantities: []quantity{{name: "p50", ratioTo: forkExec}, {name: "p50", unit: "µs"}}},
	{name: "crowd", title: "from many goroutines at once",
		text: "So many goroutines start children and wait for them, 1,600 a round.", x: "goroutines",
		aim:        "starts a second at least 1.3 times ForkExec's and 1.7 times os/exec's; p99 no longer than the shorter of theirs",
		measure:    crowd,
		quantities: []quantity{{name: "rate", unit: "starts/s"}, {name: "rate", ratioTo: forkExec}, {name: "p99", unit: "ms"}}},
	{name: "memory", title: "beside resident memory", text: "The program has so much memory, all of it touched.", x: "MiB",
		aim: "the largest at most 1.1 of the smallest", measure: memory,
		quantities: []quantity{{name: "p50", unit: "µs", flat: true}}},
	{name: "descriptors", title: "beside open descriptors", text: "The program has so many descriptors, all close-on-exec.", x: "descriptors",
		aim: "the largest at most 1.1 of the smallest", measure: descriptors,
		quantities: []quantity{{name: "p50", unit: "µs", flat: true}}},
	{name: "threads", title: "beside threads", text: "The program has so many threads, all asleep.", x: "threads",
		aim: "the largest at most 1.1 of the smallest", measure: threads,
		quantities: []quantity{{name: "p50", unit: "µs", flat: true}}},
	{name: "pauses", title: "what the rest of the program feels",
		text: "The longest delay of a ticker of 1 ms, and the longest runtime.GC, while children are started at full speed for " +
			pauseTime.String() + " a round.", x: "GOMAXPROCS",
		aim: "at most 2 ms, with GOMAXPROCS 1 and 2", measure: pauses,
		quantities: []quantity{{name: "ticker", unit: "ms"}, {name: "GC", unit: "ms"}}},
	{name: "waits", title: "many waits at once", text: "So many children live, and a goroutine waits for each.", x: "children",
		aim: "at most 10 threads, and 3 KiB a wait", measure: waits,
		quantities: []quantity{{name: "threads", unit: "threads"}, {name: "memory", unit: "KiB a wait"}}},
}

// perTurn is how many starts a way has before it is the next one's turn.
const perTurn = 20

// inTurns has each way start children, in rounds, and gives what a start took in
// microseconds: p50 of each round's, and p99 of all.
func inTurns(e *environment, f *figure, x string, ways []way, rounds int) error {
	slowest := map[string][]float64{}
	for round := -1; round < rounds; round++ { // the first is to warm up
		for _, w := range ways {
			took, err := turn(w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if err := e.ctx.Err(); err != nil {
				return err
			}
			if round >= 0 {
				f.add(w.name, x, "p50", quantile(took, 0.5))
				slowest[w.name] = append(slowest[w.name], took...)
			}
		}
		progress(x, round+1, rounds)
	}
	for _, w := range ways {
		if all := slowest[w.name]; w.many == nil {
			slices.Sort(all)
			f.add(w.name, x, "p99", quantile(all, 0.99))
		}
	}
	return nil
}

// turn gives the microseconds that a way's starts took, in order of length. One that is a
// program of its own tells all of them together.
func turn(w way) ([]float64, error) {
	if w.many != nil {
		d, err := w.many(perTurn)
		return []float64{float64(d) / 1e3 / perTurn}, err
	}
	took := make([]float64, 0, perTurn)
	for range perTurn {
		begin := time.Now()
		if err := w.once(); err != nil {
			return nil, err
		}
		took = append(took, float64(time.Since(begin))/1e3)
	}
	slices.Sort(took)
	return took, nil
}

func progress(what string, done, of int) {
	fmt.Fprintf(os.Stderr, "\r  %s %d of %d ", what, done, of)
	if done == of {
		fmt.Fprintln(os.Stderr)
	}
}

func latency(e *environment, f *figure) error { return inTurns(e, f, "", e.ways, e.rounds) }

// compared are the ways that large programs have.
func (e *environment) compared() []way { return e.named(plan, ours, theirs, forkExec) }

func crowd(e *environment, f *figure) error {
	const starts = 1600
	for _, n := range []int{1, 2, 8, 64, 512} {
		rounds := max(e.rounds/10, 5)
		for round := -1; round < rounds; round++ {
			for _, w := range e.compared() {
				took, all, err := fromMany(w, n, starts)
				if err != nil {
					return fmt.Errorf("%s: %w", w.name, err)
				}
				if err := e.ctx.Err(); err != nil {
					return err
				}
				if round >= 0 {
					x := fmt.Sprint(n)
					f.add(w.name, x, "rate", starts/all.Seconds())
					f.add(w.name, x, "p50", quantile(took, 0.5))
					f.add(w.name, x, "p99", quantile(took, 0.99))
				}
			}
			progress(fmt.Sprint(n, " goroutines"), round+1, rounds)
		}
	}
	return nil
}

// fromMany has n goroutines make starts, and gives the milliseconds that each took.
func fromMany(w way, n, starts int) (took []float64, all time.Duration, err error) {
	var left atomic.Int64
	left.Store(int64(starts))
	var mu sync.Mutex
	var group sync.WaitGroup
	begin := time.Now()
	for range n {
		group.Go(func() {
			var own []float64
			var failed error
			for left.Add(-1) >= 0 && failed == nil {
				begin := time.Now()
				failed = w.once()
				own = append(own, float64(time.Since(begin))/1e6)
			}
			mu.Lock()
			defer mu.Unlock()
			if took = append(took, own...); err == nil {
				err = failed
			}
		})
	}
	group.Wait()
	all = time.Since(begin)
	slices.Sort(took)
	return took, all, err
}

// beside measures the compared ways and C's, with more and more beside it.
func beside(e *environment, f *figure, amounts []int, have func(n int) error) error {
	for _, n := range amounts {
		if err := have(n); err != nil {
			return err
		}
		if err := inTurns(e, f, fmt.Sprint(n), e.named(plan, ours, theirs, forkExec, base), max(e.rounds/2, 5)); err != nil {
			return err
		}
	}
	return nil
}

// memory has half of what is free at most.
func memory(e *environment, f *figure) error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err
	}
	free := int(uint64(info.Freeram) * uint64(info.Unit) >> 21)
	var all []byte
	defer func() {
		if all != nil {
			unix.Munmap(all)
		}
	}()
	amounts := slices.DeleteFunc([]int{0, 64, 256, 1024, 4096}, func(n int) bool { return n > free })
	return beside(e, f, amounts, func(n int) (err error) {
		if all != nil {
			unix.Munmap(all)
			all = nil
		}
		if n > 0 {
			all, err = unix.Mmap(-1, 0, n<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		}
		for i := 0; i < len(all); i += os.Getpagesize() {
			all[i] = 1
		}
		return err
	})
}

func descriptors(e *environment, f *figure) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	var open []int
	defer func() {
		for _, fd := range open {
			unix.Close(fd)
		}
	}()
	amounts := []int{10, 1000, 10_000, 100_000}
	if most := int(limit.Cur) - 100; most < 100_000 {
		amounts = append(slices.DeleteFunc(amounts, func(n int) bool { return n >= most }), most)
	}
	return beside(e, f, amounts, func(n int) error {
		for len(open) < n {
			fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			open = append(open, fd)
		}
		return nil
	})
}

func threads(e *environment, f *figure) error {
	end := make(chan struct{})
	var asleep sync.WaitGroup
	defer asleep.Wait()
	defer close(end)
	there := 0
	return beside(e, f, []int{1, 100, 1000}, func(n int) error {
		var ready sync.WaitGroup
		for ; there < n; there++ {
			ready.Add(1)
			asleep.Go(func() {
				runtime.LockOSThread() // and the thread ends with the goroutine
				ready.Done()
				<-end
			})
		}
		ready.Wait()
		return nil
	})
}

// residentKiB is the memory of a process, and threads how many it has.
func residentKiB(pid int) (kib, threads int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		fmt.Sscanf(line, "VmRSS: %d", &kib)
		fmt.Sscanf(line, "Threads: %d", &threads)
	}
	return kib, threads
}
