//go:build linux

package vspawn

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/seccomp"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// All who wait get the same state, then and later.
func TestWaitTogether(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			p := startHelper(t, &Attr{Files: []File{{Child: 0, Parent: r}}}, cat)
			r.Close()
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
						t.Error(s, err)
					}
				})
			}
			w.Close() // the child's end of input
			wg.Wait()
			if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
				t.Error(s, err)
			}
			if err := p.Kill(); err != os.ErrProcessDone {
				t.Errorf("Kill of a reaped child: %v", err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A wait can be given up, and taken up again.
func TestWaitContext(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			p := startSleep(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := p.Wait(ctx); err != context.Canceled {
				t.Errorf("got %v", err)
			}
			if err := p.Kill(); err != nil {
				t.Error(err)
			}
			if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL || !s.Signaled() {
				t.Error(s, err)
			}
		})
	}
}

// A system that refuses to let us wait has not taken the child away, nor has
// the child ended.
func TestWaitRefused(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	for _, pidfd := range []string{"pidfd", "no pidfd"} {
		t.Run(pidfd, func(t *testing.T) {
			if out, err := refusedWait.Command(pidfd, tiny.Sleep(t)).Output(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// refused waits where waitid is forbidden. Its arguments say whether to do so by
// pidfd, and name a program that sleeps.
var refusedWait = helper.New("refused", func(args []string) int {
	f, err := Features()
	if err != nil {
		return complain(err)
	}
	if args[0] == "no pidfd" {
		f.Pidfd = false
		features.found.Store(&f)
	}
	ctx := context.Background()
	p, err := Start(ctx, args[1], nil, nil)
	if err != nil {
		return complain(err)
	}
	if err := seccomp.Deny(unix.EPERM, unix.SYS_WAITID); err != nil {
		return complain(err)
	}
	if !f.Pidfd {
		for range 2 {
			if err := p.WaitExit(ctx); !errors.Is(err, unix.EPERM) {
				return complain("WaitExit of a living child gave ", err)
			}
		}
	}
	if s, err := p.WaitFor(ctx, Stopped); !errors.Is(err, unix.EPERM) {
		return complain("WaitFor gave ", s, err)
	}
	if err := p.Kill(); err != nil {
		return complain("kill: ", err)
	}
	for range 2 {
		if s, err := p.Wait(ctx); !errors.Is(err, unix.EPERM) {
			return complain("Wait gave ", s, err)
		}
	}
	if err := p.Signal(0); err != nil {
		return complain("it is lost: ", err)
	}
	if _, err := unix.Wait4(p.Pid(), nil, 0, nil); err != nil {
		return complain("wait4: ", err)
	}
	if err := p.Close(); err != nil {
		return complain("close: ", err)
	}
	return 0
})

// A child whose status someone else has taken is an error, not a hang.
func TestWaitStolen(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			p := startArgv(t, nil, exits(t, 0))
			if _, err := unix.Wait4(p.Pid(), nil, 0, nil); err != nil {
				t.Fatal(err)
			}
			_, err := p.Wait(t.Context())
			if !errors.Is(err, unix.ECHILD) || !strings.Contains(err.Error(), "someone else") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Waits hold no thread: with ten thousand children waited for the process has
// ten more of them at most.
func TestWaitsHoldNoThread(t *testing.T) {
	f, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	if !f.Pidfd {
		t.Skip("no pidfd here: a wait holds a thread")
	}
	helper.SkipEmulated(t, "room for so many children, each with an emulator")
	children := 10_000
	if os.Getenv("VSPAWN_TARGET") != "" || raceEnabled { // where there is little memory, or all is slow
		children = 200
	}
	program := tiny.Sleep(t)
	before := threads(t)
	var wg sync.WaitGroup
	var all []*Process
	for range children {
		p, err := Start(t.Context(), program, nil, nil)
		if errors.Is(err, unix.EAGAIN) {
			t.Logf("the system allows %d children: %v", len(all), err)
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
		wg.Go(func() {
			if _, err := p.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	now := threads(t)
	t.Logf("%d threads for %d waits, %d before", now, len(all), before)
	if now > before+10 || len(all) < 100 {
		t.Error("too many threads, or too few children")
	}
	for _, p := range all {
		p.Kill()
	}
	wg.Wait()
}

func threads(t *testing.T) int {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir)
}

// A child that WaitExit has waited for is there to be reaped by another.
func TestWaitExit(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			p := startSleep(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := p.WaitExit(ctx); err != context.Canceled {
				t.Errorf("got %v", err)
			}
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := p.WaitExit(t.Context()); err != nil {
				t.Fatal(err)
			}
			other, err := os.FindProcess(p.Pid())
			if err != nil {
				t.Fatal(err)
			}
			s, err := other.Wait()
			if err != nil || s.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
				t.Error(s, err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
