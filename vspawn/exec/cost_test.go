//go:build linux && (amd64 || arm64 || riscv64)

package exec

import (
	"fmt"
	osexec "os/exec"
	"runtime"
	"runtime/debug"
	"slices"
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
	argv := looper.Argv(tiny.Exit(t, 0)) // a Go program would take longer to start than to count
	own, std := 0, 0
	for range 3 { // on a busy machine the scheduler adds some
		out, err := tracer.Command(argv...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(string(out), &own, &std); err != nil {
			t.Fatalf("the tracer says %q: %v", out, err)
		}
		if own*2 <= std {
			break
		}
	}
	t.Logf("%d system calls, os/exec %d", own, std)
	if own == 0 || own*2 > std {
		t.Errorf("%d system calls are more than half of the %d of os/exec", own, std)
	}
}

// counted is how often looper runs a command between two marks.
const counted = 5

// mark is the signal by which looper tells where it is.
const mark = unix.SIGUSR2

// looper runs a command by each package: once, since what a program does once
// is not to count, and then between marks.
var looper = helper.New("loop", func(argv []string) int {
	runtime.LockOSThread() // which gets the signal before the call returns
	for _, way := range []string{"own", "std"} {
		for i := range 1 + counted {
			if err := runs[way](argv); err != nil {
				panic(err)
			}
			if i == 0 || i == counted {
				unix.Tgkill(unix.Getpid(), unix.Gettid(), mark)
			}
		}
	}
	return 0
})

// tracer prints the system calls that a looper makes for a command by each
// package. It is a process of its own since it waits for whatever child there
// is.
var tracer = helper.New("trace", func(argv []string) int {
	runtime.LockOSThread() // the tracer is a thread
	at := systemCalls(argv)
	if len(at) != 4 {
		panic(fmt.Sprint("marks at ", at))
	}
	fmt.Println((at[1]-at[0])/counted, (at[3]-at[2])/counted)
	return 0
})

// systemCalls counts those of a program and of its children before their exec,
// and gives how many there were at each of its marks.
func systemCalls(argv []string) (at []int) {
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
			return at
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
		case s == mark:
			at = append(at, stops/2) // a call has one as it begins, and one as it ends
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
