//go:build linux && (amd64 || arm64 || riscv64)

package exec

import (
	"fmt"
	osexec "os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/tests/helper"
	"github.com/vspawn/vspawn/tests/tiny"
)

// runs are the two packages' ways to run a command.
var runs = map[string]func(argv []string) error{
	"own": func(argv []string) error { return Command(argv[0], argv[1:]...).Run() },
	"std": func(argv []string) error { return osexec.Command(argv[0], argv[1:]...).Run() },
}

// Run allocates at most half of what os/exec does, in an environment of the size
// that people have.
func TestAllocations(t *testing.T) {
	helper.SkipEmulated(t, "shared memory, and a start without it allocates a pipe")
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector empties pools")
	}
	for i := range 30 {
		t.Setenv(fmt.Sprint("VSPAWN_TEST_", i), "value")
	}
	argv := []string{tiny.Exit(t, 0)}
	allocations := func(way string) float64 {
		return testing.AllocsPerRun(20, func() {
			if err := runs[way](argv); err != nil {
				t.Fatal(err)
			}
		})
	}
	own, std := allocations("own"), allocations("std")
	t.Logf("%v allocations, os/exec %v", own, std)
	if own*2 > std {
		t.Errorf("%v allocations are more than half of the %v of os/exec", own, std)
	}
}

// Run makes at most half of the system calls that os/exec does, in the parent
// and in the child before its exec.
func TestSystemCalls(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	child := tiny.Exit(t, 0) // a Go program would take longer to start than to count
	calls := func(way string, n int) int {
		argv := looper.Argv(way, strconv.Itoa(n), child)
		out, err := tracer.Command(argv...).Output()
		if err != nil {
			t.Fatal(err)
		}
		calls, err := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil {
			t.Fatal(err)
		}
		return calls
	}
	each := func(way string) int {
		const few, many = 2, 7 // what a program does once is not to count
		return (calls(way, many) - calls(way, few)) / (many - few)
	}
	own, std := each("own"), each("std")
	for range 4 {
		if own*2 > std { // on a busy machine the scheduler adds some
			own = min(own, each("own"))
		}
	}
	t.Logf("%d system calls, os/exec %d", own, std)
	if own == 0 || own*2 > std {
		t.Errorf("%d system calls are more than half of the %d of os/exec", own, std)
	}
}

// looper runs a command a number of times.
var looper = helper.New("loop", func(args []string) int {
	n, _ := strconv.Atoi(args[1])
	for range n {
		if err := runs[args[0]](args[2:]); err != nil {
			panic(err)
		}
	}
	return 0
})

// tracer prints the system calls of a program. It is a process of its own since
// it waits for whatever child there is.
var tracer = helper.New("trace", func(args []string) int {
	runtime.LockOSThread() // the tracer is a thread
	fmt.Println(systemCalls(args))
	return 0
})

// systemCalls counts those of a program and of its children before their exec.
func systemCalls(argv []string) int {
	tracee, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		panic(err)
	}
	stops := 0
	for first := true; ; first = false {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD:
			return stops / 2 // one as it begins, one as it ends
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
			stops++
		case status.TrapCause() == unix.PTRACE_EVENT_EXEC:
			unix.PtraceDetach(pid)
			continue
		case s != unix.SIGTRAP && s != unix.SIGSTOP:
			deliver = int(s)
		}
		unix.PtraceSyscall(pid, deliver) // unless it was killed meanwhile
	}
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
