//go:build linux

package exec

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	osexec "os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// runs are the two packages' ways to run a command.
var runs = map[string]func(argv []string) error{
	"own": func(argv []string) error { return Command(argv[0], argv[1:]...).Run() },
	"std": func(argv []string) error { return osexec.Command(argv[0], argv[1:]...).Run() },
}

// raced tells whether this binary has the race detector.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// Run allocates at most half of what os/exec does, in an environment of the size
// that people have.
func TestAllocations(t *testing.T) {
	helper.SkipEmulated(t, "shared memory, and a start without it allocates a pipe")
	if raced() {
		t.Skip("the race detector empties pools")
	}
	for i := range 30 {
		t.Setenv(fmt.Sprint("VSPAWN_TEST_", i), "value")
	}
	argv := []string{tiny.Exit(t, 0)}
	allocations := func(way string) float64 {
		// The best of several counts: the runtime's own, as for a collection that empties
		// pools, are in it as well.
		best := math.Inf(1)
		for range 5 {
			best = min(best, testing.AllocsPerRun(20, func() {
				if err := runs[way](argv); err != nil {
					t.Fatal(err)
				}
			}))
		}
		return best
	}
	own, std := allocations("own"), allocations("std")
	t.Logf("%v allocations, os/exec %v", own, std)
	if own*2 > std {
		t.Errorf("%v allocations are more than half of the %v of os/exec", own, std)
	}
}

// Run makes at most half of the system calls that os/exec does, in the parent
// and in the child before its exec. A plan's Start and Wait make at most seven in
// the parent, and four in the child, if the child ends before the wait has to ask the
// runtime's poller, and to wake it. The seventh asks for the thread's mask, by which it can be
// taken back from waitid. Where the limit of descriptors is to be
// restored, which is the fourth of those, the parent looks what it is now; and before
// Linux 5.16 it minds its dumpable flag.
func TestSystemCalls(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	argv := looper.Argv(tiny.Exit(t, 0)) // a Go program would take longer to start than to count
	out, err := tracer.Command(argv...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var made map[string]*calls
	if err := json.Unmarshal(out, &made); err != nil {
		t.Fatalf("the tracer says %q: %v", out, err)
	}
	t.Logf("own %+v\nos/exec %+v\na plan alone %+v", made["own"], made["std"], made["plan"])
	if own, std := made["own"].sum(), made["std"].sum(); own == 0 || own*2 > std {
		t.Errorf("%d system calls are more than half of the %d of os/exec", own, std)
	}
	most := 7
	if f, err := vspawn.Features(); err != nil || !f.LoneCoreDump {
		most += 6 // two for the flag, two for the ids by which it may come back, and who may have it back
	}
	p := made["plan"]
	if p.Child == 4 {
		most++
	}
	most += p.Numbers[unix.SYS_EPOLL_CTL] + p.Numbers[unix.SYS_WRITE] // a wait for a child that a busy machine keeps
	if p.Numbers[unix.SYS_EPOLL_CTL] > 0 {
		most += 3 // the thread was taken back: waitid again, and two for the flag, which is put back
	}
	if p.Parent < 2 || p.Parent > most || p.Child < 1 || p.Child > 4 {
		t.Errorf("a plan makes %d system calls in the parent, %d in the child, by number: %v", p.Parent, p.Child, p.Numbers)
	}
}

// calls are the system calls that one command takes.
type calls struct {
	Parent, Child int
	Runtime       int         // those of other threads, or that are the Go runtime's affair, or the test's
	Numbers       map[int]int // those of Parent and Child by number
}

// sum leaves out the runtime's: on a busy machine, or with the race detector, there are
// tens of them in every round.
func (c *calls) sum() int { return c.Parent + c.Child }

// ofRuntime are the calls by which Go's scheduler lets threads wait and wakes
// them, tells the time without a vDSO, and comes back from SIGCHLD; and those by
// which looper tells where it is.
var ofRuntime = []int{unix.SYS_FUTEX, unix.SYS_EPOLL_PWAIT, unix.SYS_NANOSLEEP, unix.SYS_SCHED_YIELD,
	unix.SYS_CLOCK_GETTIME, unix.SYS_RT_SIGRETURN, unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_TGKILL}

// loops are what looper does, in this order.
var loops = []string{"own", "std", "plan"}

// counted is how often looper runs a command in each way, after a first time. The
// best one counts: on a busy machine the scheduler adds some.
const counted = 5

// mark is the signal by which looper tells where it is.
const mark = unix.SIGUSR2

// looper runs commands in each way, with a mark after each.
var looper = helper.New("loop", func(argv []string) int {
	runtime.LockOSThread() // which gets the signal before the call returns
	plan, err := vspawn.Compile(argv[0], argv, nil)
	if err != nil {
		panic(err)
	}
	for _, way := range loops {
		run := runs[way]
		if way == "plan" {
			run = func([]string) error { return startAndWait(plan) }
		}
		for range 1 + counted {
			if err := run(argv); err != nil {
				panic(err)
			}
			unix.Tgkill(unix.Getpid(), unix.Gettid(), mark)
		}
	}
	return 0
})

func startAndWait(plan *vspawn.Plan) error {
	p, err := plan.Start(context.Background())
	if err != nil {
		return err
	}
	_, err = p.Wait(context.Background())
	return err
}

// tracer prints the system calls that a looper makes for a command in each way.
// It is a process of its own since it waits for whatever child there is.
var tracer = helper.New("trace", func(argv []string) int {
	runtime.LockOSThread() // the tracer is a thread
	all := systemCalls(argv)
	if len(all) != len(loops)*(1+counted) {
		panic(fmt.Sprint(len(all), " marks"))
	}
	made := map[string]*calls{}
	for i, way := range loops {
		made[way] = slices.MinFunc(all[i*(1+counted)+1:][:counted], func(a, b *calls) int {
			return cmp.Or(a.Parent+a.Child-b.Parent-b.Child, a.Runtime-b.Runtime)
		})
	}
	if err := json.NewEncoder(os.Stdout).Encode(made); err != nil {
		panic(err)
	}
	return 0
})

// systemCalls counts a program's system calls, and those of its children before
// their exec, up to each of its marks. The parent is the thread that sets them.
func systemCalls(argv []string) (marked []*calls) {
	tracee, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		panic(err)
	}
	children := map[int]bool{}
	now := map[[2]int]int{} // how often, by thread and number
	for first := true; ; first = false {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD:
			return marked
		case err != nil:
			panic(err)
		case !status.Stopped():
			continue
		case first:
			const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK |
				unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
			if err := unix.PtraceSetOptions(tracee, options); err != nil {
				panic(err)
			}
		}
		const systemCall = unix.SIGTRAP | 0x80
		deliver := 0
		switch s := status.StopSignal(); {
		case s == systemCall:
			if nr, ok := enteredCall(pid); ok {
				now[[2]int{pid, nr}]++
			}
		case s == mark:
			marked = append(marked, sorted(now, pid, children))
			clear(now)
		case status.TrapCause() == unix.PTRACE_EVENT_EXEC:
			unix.PtraceDetach(pid)
			continue
		case status.TrapCause() == unix.PTRACE_EVENT_VFORK || status.TrapCause() == unix.PTRACE_EVENT_FORK:
			child, err := unix.PtraceGetEventMsg(pid)
			if err != nil {
				panic(err)
			}
			children[int(child)] = true
		case s != unix.SIGTRAP && s != unix.SIGSTOP:
			deliver = int(s)
		}
		unix.PtraceSyscall(pid, deliver) // unless it was killed meanwhile
	}
}

// sorted tells calls by thread and number apart.
func sorted(made map[[2]int]int, parent int, children map[int]bool) *calls {
	c := &calls{Numbers: map[int]int{}}
	for k, n := range made {
		switch thread, nr := k[0], k[1]; {
		case children[thread]:
			c.Child += n
			c.Numbers[nr] += n
		case thread == parent && !slices.Contains(ofRuntime, nr):
			c.Parent += n
			c.Numbers[nr] += n
		default:
			c.Runtime += n
		}
	}
	return c
}

// BenchmarkRun runs a command by either package in turn, so that a machine
// that slows down slows both, and gives the medians.
func BenchmarkRun(b *testing.B) {
	argv := []string{tiny.Exit(b, 0)}
	took := map[string][]time.Duration{}
	for b.Loop() {
		for way, run := range runs {
			start := time.Now()
			if err := run(argv); err != nil {
				b.Fatal(err)
			}
			took[way] = append(took[way], time.Since(start))
		}
	}
	b.ReportMetric(0, "ns/op") // of both together: means nothing
	for way, list := range took {
		slices.Sort(list)
		b.ReportMetric(float64(list[len(list)/2]), "ns/"+way)
	}
}
