//go:build linux

package vspawn

import (
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// Each stop and each continuation is seen once.
func TestWaitFor(t *testing.T) {
	helper.SkipEmulated(t, "WCONTINUED")
	p := startSleep(t, nil)
	for range 3 {
		p.Signal(unix.SIGSTOP)
		if s, err := p.WaitFor(t.Context(), Stopped|Exited); err != nil || !s.Stopped() || s.Signal() != unix.SIGSTOP {
			t.Error(s, err)
		}
		p.Signal(unix.SIGCONT)
		if s, err := p.WaitFor(t.Context(), Continued|Exited); err != nil || !s.Continued() {
			t.Error(s, err)
		}
	}
	p.Kill()
	if s, err := p.WaitFor(t.Context(), Exited); err != nil || s.Signal() != unix.SIGKILL {
		t.Error(s, err)
	}
	if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL {
		t.Error(s, err)
	}
	if _, err := p.WaitFor(t.Context(), 0); err == nil {
		t.Error("a wait for nothing")
	}
}

// The end of a child is told to who waits for a stop, which it will not come to.
// It takes no status.
func TestWaitForEnded(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			p := startArgv(t, nil, exits(t, 7))
			ended := func() error { return unix.Waitid(unix.P_PID, p.Pid(), nil, unix.WEXITED|unix.WNOWAIT, nil) }
			if err := ignoringEINTR(ended); err != nil {
				t.Error(err)
			}
			for range 2 {
				if s, err := p.WaitFor(t.Context(), Stopped); err != nil || s.ExitCode() != 7 {
					t.Errorf("got %v, %v, want exit status 7", s, err)
				}
			}
			if s, err := p.Wait(t.Context()); err != nil || s.ExitCode() != 7 {
				t.Errorf("Wait then gave %v, %v", s, err)
			}
			if s, err := p.WaitFor(t.Context(), Stopped); err != nil || s.ExitCode() != 7 {
				t.Errorf("and once it is reaped %v, %v", s, err)
			}

			p = startSleep(t, nil)
			waiting := make(chan error)
			go func() {
				s, err := p.WaitFor(t.Context(), Continued)
				if err == nil && s.Signal() != unix.SIGKILL {
					err = fmt.Errorf("got %v", s)
				}
				waiting <- err
			}()
			for there := false; !there; runtime.Gosched() {
				p.mu.Lock()
				there = p.let != nil
				p.mu.Unlock()
			}
			p.Kill()
			if err := <-waiting; err != nil {
				t.Error(err)
			}
			if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL {
				t.Error(s, err)
			}
		})
	}
}
