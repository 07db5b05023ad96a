//go:build linux

package vspawn

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/seccomp"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// soon waits for what is to come in a moment.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never comes: ", what)
		}
	}
}

// startHeld starts a child that waits before its exec, and tells its pid to look.
func startHeld(path string, attr Attr, look func(pid int)) (*Process, error) {
	hereR, hereW := pipe()
	goR, goW := pipe()
	b := scratch.words64([]uint64{0})
	attr.Syscalls = []Syscall{
		{Before: "Seccomp", Name: "write", Nr: unix.SYS_WRITE, Args: [6]uintptr{hereW.Fd(), b, 1}},
		{Before: "Seccomp", Name: "read", Nr: unix.SYS_READ, Args: [6]uintptr{goR.Fd(), b, 1}},
	}
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		hereR.Read(make([]byte, 1))
		for _, pid := range ownChildren() {
			look(pid)
		}
		goW.Write([]byte{0})
	}()
	p, err := Start(context.Background(), path, nil, &attr)
	hereW.Close() // where there was no child
	<-looked
	for _, f := range []*os.File{hereR, goR, goW} {
		f.Close()
	}
	return p, err
}

// A child has not switched before its exec, and has behind it, also in a session
// of its own and in another PID namespace; as a zombie, and when it is reaped.
func TestSwitched(t *testing.T) {
	helper.SkipEmulated(t, "memory that a child of vfork shares")
	kinds := map[string]Attr{
		"plain":               {},
		"a session":           {Setsid: true},
		"a group":             {Pgid: Ptr(0)},
		"a session of a user": {Setsid: true, UID: Ptr(65534), GID: Ptr(65534)},
		"a PID namespace":     {Cloneflags: unix.CLONE_NEWPID, Setsid: true},
	}
	for name, attr := range kinds {
		t.Run(name, func(t *testing.T) {
			if os.Getuid() != 0 && (attr.UID != nil || attr.Cloneflags != 0) {
				t.Skip("for root")
			}
			looked := 0
			p, err := startHeld(tiny.Exit(t, 0), attr, func(pid int) {
				looked++
				if switched(pid) {
					t.Error("it has switched before its exec")
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if looked != 1 {
				t.Errorf("looked at %d children", looked)
			}
			soon(t, "the switch", func() bool { return switched(p.pid) })
			if err := p.WaitExit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !switched(p.pid) {
				t.Error("a zombie has not switched")
			}
			if _, err := p.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !switched(p.pid) {
				t.Error("one that is reaped has not switched")
			}
		})
	}

	f, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	plan := &Plan{compiled: &compiled{ops: []op{{call: sysExitGroup, args: []arg{dec(0)}}}}}
	in, err := f.try(plan, unix.SIGCHLD)
	if err != nil {
		t.Fatal(err)
	}
	defer instances.Put(in)
	if pidfd := int(in.prog.Pidfd); pidfd >= 0 {
		defer unix.Close(pidfd)
	}
	soon(t, "the end without an exec", func() bool { return switched(in.pid()) })
	if _, err := in.reapTry(); err != nil {
		t.Fatal(err)
	}
}

// Where a filter answers setpgid, its answer is not taken for the kernel's.
func TestSwitchedFiltered(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	for _, errno := range []unix.Errno{unix.EACCES, unix.ESRCH, unix.EPERM, unix.ENOSYS} {
		out, err := filteredSetpgid.Command(unix.ErrnoName(errno), tiny.Exit(t, 0)).Output()
		if err != nil || string(out) != "" {
			t.Errorf("%v: %v: %s", errno, err, out)
		}
	}
}

var filteredSetpgid = helper.New("filtered setpgid", func(args []string) int {
	errno := map[string]unix.Errno{"EACCES": unix.EACCES, "ESRCH": unix.ESRCH, "EPERM": unix.EPERM, "ENOSYS": unix.ENOSYS}[args[0]]
	runtime.LockOSThread()
	if err := seccomp.Deny(errno, unix.SYS_SETPGID); err != nil {
		panic(err)
	}
	p, err := startHeld(args[1], Attr{}, func(pid int) {
		if switched(pid) {
			os.Stdout.WriteString("it has switched before its exec")
		}
	})
	if err != nil {
		panic(err)
	}
	for !switched(p.pid) { // as /proc tells
		time.Sleep(time.Millisecond)
	}
	if _, err := p.Wait(context.Background()); err != nil {
		panic(err)
	}
	return 0
})
