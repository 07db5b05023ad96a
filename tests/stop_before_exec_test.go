//go:build linux

package tests

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// A stop that comes to a child on its way holds its start until the child is continued:
// SIGSTOP where it is, and those that can be blocked, as Ctrl-Z sends one to a whole process
// group, where its mask is set, just before the exec. One that the program blocks or ignores
// does not.
func TestStopBeforeExec(t *testing.T) {
	helper.SkipEmulated(t, "memory shared by vfork")
	one := func(s syscall.Signal) []syscall.Signal { return []syscall.Signal{s} }
	path := exits(t, 3)[0]
	for _, c := range []struct {
		name string
		attr vspawn.Attr
		stop syscall.Signal
		held bool
	}{
		{"SIGSTOP", vspawn.Attr{}, unix.SIGSTOP, true},
		{"SIGTSTP", vspawn.Attr{}, unix.SIGTSTP, true},
		{"SIGTTIN", vspawn.Attr{}, unix.SIGTTIN, true},
		{"SIGTTOU", vspawn.Attr{}, unix.SIGTTOU, true},
		{"SIGTSTP, blocked", vspawn.Attr{SignalMask: one(unix.SIGTSTP)}, unix.SIGTSTP, false},
		{"SIGTSTP, ignored", vspawn.Attr{IgnoreSignals: one(unix.SIGTSTP)}, unix.SIGTSTP, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate(t, "Cgroup")
			attr := c.attr
			attr.Syscalls = g.Calls
			attr.Pgid = vspawn.Ptr(0) // in a guest ours is an orphaned one, in which SIGTSTP stops nobody
			var over, wasHeld atomic.Bool
			var others sync.WaitGroup
			others.Go(func() {
				signalAtGate(t, g, c.stop)
				g.letPass(t)
				if !c.held {
					return
				}
				for _, child := range children(t, os.Getpid()) {
					for end := time.Now().Add(patience); stat(strconv.Itoa(child)).state != "T" && time.Now().Before(end); {
						time.Sleep(time.Millisecond)
					}
					wasHeld.Store(!over.Load())
					if err := unix.Kill(child, unix.SIGCONT); err != nil {
						t.Error(err)
					}
				}
			})
			p, err := vspawn.Start(t.Context(), path, nil, &attr)
			over.Store(true)
			g.over()
			others.Wait()
			if err != nil {
				t.Fatal(err)
			}
			wait(t, p, "exit status 3")
			equal(t, "the start was held", wasHeld.Load(), c.held)
		})
	}
}

// The end of its context ends a start that is held so.
func TestCancelStopped(t *testing.T) {
	helper.SkipEmulated(t, "memory shared by vfork")
	path := exits(t, 3)[0]
	for _, s := range []syscall.Signal{unix.SIGSTOP, unix.SIGTSTP} {
		leavesNothing(t, unix.SignalName(s), func(t *testing.T) {
			g := newGate(t, "Cgroup")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			var others sync.WaitGroup
			others.Go(func() {
				signalAtGate(t, g, s)
				g.letPass(t)
				for _, child := range children(t, os.Getpid()) {
					for end := time.Now().Add(patience); stat(strconv.Itoa(child)).state != "T" && time.Now().Before(end); {
						time.Sleep(time.Millisecond)
					}
				}
				cancel(errEnough)
			})
			_, err := vspawn.Start(ctx, path, nil, &vspawn.Attr{Syscalls: g.Calls, Pgid: vspawn.Ptr(0)})
			g.over()
			others.Wait()
			if !errors.Is(err, errEnough) {
				t.Errorf("got %v, want the cause, %q", err, errEnough)
			}
		})
	}
}
