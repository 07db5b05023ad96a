//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// A signal that comes to parent and child while the child is on its way is
// handled in the parent at once, and by no handler in the child: there it has
// the effect that was asked for, when the program starts.
func TestSignalDuringStart(t *testing.T) {
	helper.SkipEmulated(t, "memory shared by vfork")
	path := tiny.Exit(t, 0)
	one := func(s syscall.Signal) []syscall.Signal { return []syscall.Signal{s} }
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		attr   vspawn.Attr
		end    string
	}{
		{"default", unix.SIGUSR1, vspawn.Attr{}, "signal: user defined signal 1"},
		{"default", unix.SIGTERM, vspawn.Attr{}, "signal: terminated"},
		{"default", unix.SIGURG, vspawn.Attr{}, "exit status 0"}, // which is to ignore it
		{"made default", unix.SIGUSR1, vspawn.Attr{DefaultSignals: one(unix.SIGUSR1)}, "signal: user defined signal 1"},
		{"ignored", unix.SIGUSR1, vspawn.Attr{IgnoreSignals: one(unix.SIGUSR1)}, "exit status 0"},
		{"ignored", unix.SIGTERM, vspawn.Attr{IgnoreSignals: one(unix.SIGTERM)}, "exit status 0"},
		{"blocked", unix.SIGUSR1, vspawn.Attr{SignalMask: one(unix.SIGUSR1)}, "exit status 0"},
		{"blocked", unix.SIGTERM, vspawn.Attr{SignalMask: one(unix.SIGTERM)}, "exit status 0"},
	} {
		t.Run(c.name+" "+unix.SignalName(c.signal), func(t *testing.T) {
			received := make(chan os.Signal, 100)
			signal.Notify(received, c.signal)
			defer signal.Stop(received)
			g := newGate(t, "Cgroup") // before anything is done about signals
			attr := c.attr
			attr.Syscalls = g.Calls
			var others sync.WaitGroup
			others.Go(func() {
				defer g.letPass(t)
				signalAtGate(t, g, c.signal)
				if err := unix.Kill(os.Getpid(), c.signal); err != nil {
					t.Error(err)
				}
				<-received // while the child waits
			})
			p, err := vspawn.Start(t.Context(), path, nil, &attr)
			g.over()
			others.Wait()
			if err != nil {
				t.Fatal(err)
			}
			wait(t, p, c.end)
			if n := len(received); n > 0 && c.signal != unix.SIGURG { // that one is the Go scheduler's, too
				t.Errorf("the parent has handled one signal %d times", 1+n)
			}
		})
	}
}

// signalAtGate sends a signal to the child that waits there.
func signalAtGate(t *testing.T, g *gate, s syscall.Signal) {
	g.await(t)
	pids := children(t, os.Getpid())
	if len(pids) != 1 {
		t.Errorf("the children are %v, want one", pids)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, s); err != nil {
			t.Error(err)
		}
	}
}

// A signal that is blocked in the child, and came while it was on its way, is
// pending when the program starts.
func TestSignalPending(t *testing.T) {
	helper.SkipEmulated(t, "signal masks of the program's own")
	g := newGate(t, "Cgroup")
	var others sync.WaitGroup
	others.Go(func() {
		defer g.letPass(t)
		signalAtGate(t, g, unix.SIGUSR1)
	})
	s := report(t, &vspawn.Attr{SignalMask: []syscall.Signal{unix.SIGUSR1}, Syscalls: g.Calls})
	g.over()
	others.Wait()
	equal(t, "pending signals", s.Pending, setOf(unix.SIGUSR1))
}

// A signal to the very thread that waits for its child is delivered when the
// wait is over.
func TestSignalToWaitingThread(t *testing.T) {
	helper.SkipEmulated(t, "vfork that suspends the parent's thread")
	received := make(chan os.Signal, 100)
	signal.Notify(received, unix.SIGUSR1)
	defer signal.Stop(received)
	g := newGate(t, "")
	thread := make(chan int, 1)
	var others sync.WaitGroup
	others.Go(func() {
		defer g.letPass(t)
		g.await(t)
		tid := <-thread
		if err := unix.Tgkill(os.Getpid(), tid, unix.SIGUSR1); err != nil {
			t.Error(err)
		}
		field := statusField("self/task/"+strconv.Itoa(tid), "SigPnd")
		pending, err := strconv.ParseUint(field, 16, 64) // the scheduler's SIGURG may be among them
		if err != nil || pending&setOf(unix.SIGUSR1) == 0 {
			t.Errorf("signals pending for the thread: %q, want SIGUSR1 among them", field)
		}
	})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread <- unix.Gettid()
	p, err := vspawn.Start(t.Context(), tiny.Exit(t, 0), nil, &vspawn.Attr{Syscalls: g.Calls})
	g.over()
	others.Wait()
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
	<-received
}

// A storm of signals to the process group while children are started: none is
// lost to the parent, none is handled in a child, and the masks are as asked
// on both sides.
func TestSignalStorm(t *testing.T) {
	helper.SkipEmulated(t, "memory shared by vfork")
	p, err := start(t, stormHelper.Argv(tiny.Exit(t, 0)), &vspawn.Attr{Pgid: vspawn.Ptr(0)})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

// stormHelper is a parent in a process group of its own.
var stormHelper = helper.New("storm", func(args []string) int {
	if unix.Getpgrp() != os.Getpid() { // or whoever runs the test gets them, too
		fmt.Fprintln(os.Stderr, "this is not the leader of a process group")
		return 1
	}
	signals := []syscall.Signal{unix.SIGUSR1, unix.SIGURG, unix.SIGTERM}
	var stop atomic.Bool
	var storm, spawners sync.WaitGroup
	failed := make(chan error, 100)
	for _, s := range signals {
		received := make(chan os.Signal, 1000)
		signal.Notify(received, s)
		storm.Go(func() {
			sent := 0
			for ; !stop.Load(); sent++ {
				if err := unix.Kill(0, s); err != nil {
					failed <- err
					return
				}
				<-received // so that no two become one
			}
			// SIGURG is the Go scheduler's, too.
			if extra := len(received); extra > 0 && s != unix.SIGURG {
				failed <- fmt.Errorf("%v was sent %d times, and handled %d times more", s, sent, extra)
			}
		})
	}
	for range 2 {
		spawners.Go(func() {
			if err := spawnInStorm(args[0], signals); err != nil {
				failed <- err
			}
		})
	}
	spawners.Wait()
	stop.Store(true)
	storm.Wait()
	close(failed)
	code := 0
	for err := range failed {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
})

// spawnInStorm starts programs that the signals may end, and ones that they
// may not.
func spawnInStorm(path string, signals []syscall.Signal) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ends := map[string]int{}
	for range 15 {
		for _, c := range []struct {
			attr   vspawn.Attr
			immune bool
		}{
			{vspawn.Attr{}, false},
			{vspawn.Attr{IgnoreSignals: signals}, true},
			{vspawn.Attr{SignalMask: signals}, true},
		} {
			p, err := vspawn.Start(noContext, path, nil, &c.attr)
			if err != nil {
				return err
			}
			s, err := p.Wait(noContext)
			if err != nil {
				return err
			}
			ends[s.String()]++
			killed := s.Signaled() && (s.Signal() == unix.SIGUSR1 || s.Signal() == unix.SIGTERM)
			if !s.Success() && (c.immune || !killed) {
				return fmt.Errorf("with %+v a child ended by %v", c.attr, s)
			}
			if mask := signalMask(); mask != 0 {
				return fmt.Errorf("the parent's signal mask is %x", mask)
			}
		}
		// And a start that fails, amid the storm.
		_, err := vspawn.Start(noContext, "/no/such/program", nil, &vspawn.Attr{SignalMask: signals})
		if !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("got %v, want ENOENT", err)
		}
	}
	if ends["exit status 0"] == 0 {
		return fmt.Errorf("no child has survived: %v", ends)
	}
	return nil
}
