//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// With StartStopped the child is stopped, with no tracer, before its first
// instruction, and SIGCONT lets it go on.
func TestStartStopped(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	p, err := start(t, exits(t, 7), &vspawn.Attr{StartStopped: true, UID: someUser()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.WaitFor(t.Context(), vspawn.Stopped|vspawn.Exited)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "signal that stopped it", s.Signal(), unix.SIGSTOP)
	pid := fmt.Sprint(p.Pid())
	equal(t, "state", statusField(pid, "State"), "T (stopped)")
	equal(t, "tracer", statusField(pid, "TracerPid"), "0")
	equal(t, "threads", statusField(pid, "Threads"), "1") // a Go program has more once it runs
	if err := p.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 7")
}

func someUser() *int {
	if os.Getuid() == 0 {
		return vspawn.Ptr(1000)
	}
	return nil
}

// With Ptrace the child stops at its exec, and the thread that has started it
// is its tracer.
func TestPtrace(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	p, err := start(t, tracerHelper.Argv(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

var tracerHelper = helper.New("tracer", func([]string) int {
	tracer, syscalls := "", errors.New("not reached")
	err := atExec(&vspawn.Attr{}, func(pid string) {
		tracer = statusField(pid, "TracerPid")
		var n int
		fmt.Sscan(pid, &n)
		var regs unix.PtraceRegs
		syscalls = unix.PtraceGetRegs(n, &regs)
	})
	// The tracer's field has a process's number, whatever thread it is.
	if want := fmt.Sprint(os.Getpid()); tracer != want || err != nil || syscalls != nil {
		fmt.Fprintf(os.Stderr, "the tracer is %q, want %q; %v, %v\n", tracer, want, err, syscalls)
		return 1
	}
	return 0
})

// A child of Ptrace has, for its tracer, no options: what it does next is told
// as of any that was traced by PTRACE_TRACEME.
func TestTracedPlainly(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	p := startAtGate(t, tiny.Exit(t, 3), &vspawn.Attr{Ptrace: true}, "Cgroup", 0)
	if err := unix.PtraceSyscall(p.Pid(), 0); err != nil {
		t.Fatal(err)
	}
	s, err := p.WaitFor(t.Context(), vspawn.Stopped|vspawn.Exited)
	if err != nil || s.Signal() != unix.SIGTRAP || s.Sys().TrapCause() > 0 {
		t.Errorf("at its first system call it is %v, %v; want a stop by SIGTRAP", s, err)
	}
	if err := unix.PtraceDetach(p.Pid()); err != nil {
		t.Error(err)
	}
	endsBy(t, p, "exit status 3")
}
