//go:build linux

package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// Whatever signal has come to the child on its way, blocked, ignored or neither,
// finds it stopped at its exec, and has its effect when it goes on. The mask is
// the one that was asked for.
func TestTracedSignalled(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	path := tiny.Exit(t, 3)
	const ends = "exit status 3"
	one := func(s syscall.Signal) []syscall.Signal { return []syscall.Signal{s} }
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		attr   vspawn.Attr
		end    string
	}{
		{"none", 0, vspawn.Attr{}, ends},
		{"none, SIGTRAP blocked", 0, vspawn.Attr{SignalMask: one(unix.SIGTRAP)}, ends},
		{"none, SIGTRAP ignored", 0, vspawn.Attr{IgnoreSignals: one(unix.SIGTRAP)}, ends},
		{"none, SIGTRAP blocked and ignored", 0, vspawn.Attr{SignalMask: one(unix.SIGTRAP), IgnoreSignals: one(unix.SIGTRAP)}, ends},
		{"SIGWINCH", unix.SIGWINCH, vspawn.Attr{}, ends},
		{"SIGCHLD", unix.SIGCHLD, vspawn.Attr{}, ends},
		{"SIGTERM", unix.SIGTERM, vspawn.Attr{}, "signal: terminated"},
		{"SIGTERM, blocked", unix.SIGTERM, vspawn.Attr{SignalMask: one(unix.SIGTERM)}, ends},
		{"SIGTERM, ignored", unix.SIGTERM, vspawn.Attr{IgnoreSignals: one(unix.SIGTERM)}, ends},
		{"SIGHUP", unix.SIGHUP, vspawn.Attr{DefaultSignals: one(unix.SIGHUP)}, "signal: hangup"},
		{"SIGTRAP, blocked", unix.SIGTRAP, vspawn.Attr{SignalMask: one(unix.SIGTRAP)}, ends},
		{"SIGTRAP, ignored", unix.SIGTRAP, vspawn.Attr{IgnoreSignals: one(unix.SIGTRAP)}, ends},
		{"SIGTRAP, blocked and made default", unix.SIGTRAP, vspawn.Attr{SignalMask: one(unix.SIGTRAP), DefaultSignals: one(unix.SIGTRAP)}, ends},
	} {
		for _, kind := range tracedKinds {
			for _, before := range []string{"Cgroup", ""} { // before it is traced, and after
				if c.signal == 0 && before == "" {
					continue
				}
				attr := c.attr
				attr.Ptrace, attr.StartStopped = kind.attr.Ptrace, kind.attr.StartStopped
				t.Run(fmt.Sprintf("%s, %s %q", kind.name, c.name, before), func(t *testing.T) {
					p := startAtGate(t, path, &attr, before, c.signal)
					checkPending(t, p, &attr, c.signal)
					if err := goOn(p, &attr); err != nil {
						t.Error(err)
					}
					endsBy(t, p, c.end)
				})
			}
		}
	}
}

// startAtGate starts a child that gets a signal on its way, and checks how it is
// stopped.
func startAtGate(t *testing.T, path string, attr *vspawn.Attr, before string, s syscall.Signal) *vspawn.Process {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	g := newGate(t, before)
	attr.Syscalls = g.Calls
	var others sync.WaitGroup
	others.Go(func() {
		defer g.letPass(t)
		if s == 0 {
			g.await(t)
		} else {
			signalAtGate(t, g, s)
		}
	})
	p, err := vspawn.Start(ctx, path, nil, attr)
	g.over()
	others.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := checkStopped(ctx, p, attr); err != nil {
		p.Kill()
		reap(p)
		t.Fatal(err)
	}
	return p
}

// checkPending checks the mask of a child that is stopped, and what is pending.
func checkPending(t *testing.T, p *vspawn.Process, attr *vspawn.Attr, s syscall.Signal) {
	t.Helper()
	set := func(field string) uint64 {
		v, err := strconv.ParseUint(statusField(strconv.Itoa(p.Pid()), field), 16, 64)
		if err != nil {
			t.Error(err)
		}
		return v
	}
	equal(t, "blocked signals", set("SigBlk"), setOf(attr.SignalMask...))
	if s != 0 {
		// One that is ignored, and not blocked, may have been dropped.
		if got := set("SigPnd") | set("ShdPnd"); got&^setOf(s) != 0 || got == 0 && s == unix.SIGTERM && attr.IgnoreSignals == nil {
			t.Errorf("pending signals: %#x, want %v", got, s)
		}
	}
}

// A SIGSTOP that comes while the child is traced neither holds the start nor is
// lost to the tracer.
func TestTracedStopped(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	path := tiny.Exit(t, 3)
	t.Run("StartStopped", func(t *testing.T) {
		attr := &vspawn.Attr{StartStopped: true}
		p := startAtGate(t, path, attr, "", unix.SIGSTOP)
		if err := goOn(p, attr); err != nil {
			t.Error(err)
		}
		endsBy(t, p, "exit status 3")
	})
	t.Run("Ptrace", func(t *testing.T) {
		p := startAtGate(t, path, &vspawn.Attr{Ptrace: true}, "", unix.SIGSTOP)
		if err := unix.PtraceCont(p.Pid(), 0); err != nil {
			t.Error(err)
		}
		s, err := p.WaitFor(t.Context(), vspawn.Stopped|vspawn.Exited)
		if err != nil || s.Signal() != unix.SIGSTOP {
			t.Errorf("then it is %v, %v; want a stop by SIGSTOP", s, err)
		}
		if err := unix.PtraceDetach(p.Pid()); err != nil {
			t.Error(err)
		}
		endsBy(t, p, "exit status 3")
	})
}

// StartStopped takes from a program what its set-user-ID bit would give it, as
// its documentation says: the kernel gives nothing to one that is traced by
// someone without CAP_SYS_PTRACE.
func TestStartStoppedSetUserID(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	needCapability(t, unix.CAP_SETUID, "give a program another owner")
	const user, owner = 1000, 1001
	text, err := os.ReadFile(tiny.Sleep(t))
	if err != nil {
		t.Fatal(err)
	}
	program := func(dir string) (path string) {
		path = filepath.Join(dir, "setuid")
		if err := errors.Join(os.WriteFile(path, text, 0o755), os.Chown(path, owner, -1), os.Chmod(path, 0o755|os.ModeSetuid),
			os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := program(realTemp(t))
	effective := func(attr vspawn.Attr) (uid int) {
		attr.UID, attr.GID = vspawn.Ptr(user), vspawn.Ptr(user)
		p, err := vspawn.Start(t.Context(), path, nil, &attr)
		if err != nil {
			t.Fatal(err)
		}
		// Start is back before the exec has changed the ids: when the program sleeps, or is
		// stopped, it has.
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
			state := statFields(p.Pid())
			if state != nil && bytes.ContainsAny(state[0], "ST") && !stillShares(p.Pid(), os.Getpid()) {
				break
			}
		}
		var all [4]int
		fmt.Sscan(statusField(strconv.Itoa(p.Pid()), "Uid"), &all[0], &all[1])
		if err := errors.Join(p.Kill(), reap(p)); err != nil {
			t.Error(err)
		}
		return all[1]
	}
	if effective(vspawn.Attr{}) != owner { // a file system that is mounted nosuid, as a guest's /tmp
		dir, err := os.MkdirTemp("/", "vspawn-test-")
		if err != nil {
			t.Skip("the set-user-ID bit has no effect in the directory for temporary files, and there is no other: ", err)
		}
		defer os.RemoveAll(dir)
		path = program(dir)
	}
	equal(t, "effective user", effective(vspawn.Attr{}), owner)
	equal(t, "effective user with StartStopped", effective(vspawn.Attr{StartStopped: true}), user)
}

// A child that is stopped by a signal on its way holds its start, until SIGCONT;
// or until the context ends, and then it is killed.
func TestStoppedOnItsWay(t *testing.T) {
	helper.SkipEmulated(t, "memory shared by vfork")
	for _, end := range []string{"SIGCONT", "context"} {
		t.Run(end, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			g := newGate(t, "")
			var others sync.WaitGroup
			others.Go(func() {
				signalAtGate(t, g, unix.SIGSTOP)
				pids := children(t, os.Getpid())
				g.letPass(t)
				for len(pids) == 1 && statusField(strconv.Itoa(pids[0]), "State") != "T (stopped)" {
					time.Sleep(time.Millisecond)
				}
				if end == "context" {
					cancel()
				} else if err := unix.Kill(pids[0], unix.SIGCONT); err != nil {
					t.Error(err)
				}
			})
			p, err := vspawn.Start(ctx, tiny.Exit(t, 3), nil, &vspawn.Attr{Syscalls: g.Calls})
			g.over()
			others.Wait()
			switch {
			case end == "context" && !errors.Is(err, context.Canceled):
				t.Errorf("got %v, want that it is cancelled", err)
			case err == nil:
				endsBy(t, p, "exit status 3")
			case end != "context":
				t.Error(err)
			}
		})
	}
}
