//go:build linux

package vspawn

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// A child that someone else has reaped is done, and a signal to it no failure.
func TestSignalStolen(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			p := startArgv(t, nil, exits(t, 0))
			if _, err := unix.Wait4(p.Pid(), nil, 0, nil); err != nil {
				t.Fatal(err)
			}
			if err := p.Signal(0); err != os.ErrProcessDone {
				t.Errorf("got %v", err)
			}
			p.Close()
		})
	}
}

// What a Process knows it tells, though the context has ended.
func TestWaitKnown(t *testing.T) {
	p := startArgv(t, nil, exits(t, 7))
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // of two that are ready select takes either
		if s, err := p.Wait(ctx); err != nil || s.ExitCode() != 7 {
			t.Fatal(s, err)
		}
	}
}

// A number that is not our child's, when its pidfd is opened after the birth, is not
// taken for it.
func TestPidfdOfAnother(t *testing.T) {
	f, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	if !f.Pidfd {
		t.Skip("there is no pidfd (Linux 5.4)")
	}
	helper.SkipEmulated(t, "waitid by pidfd that is sure")
	gone := startArgv(t, nil, exits(t, 0))
	if _, err := gone.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{os.Getpid(), gone.Pid()} {
		p := &Process{pid: pid, pidfd: -1, cgroup: -1}
		p.openPidfd()
		if err := p.Signal(0); err != os.ErrProcessDone {
			t.Errorf("a signal to process %d: %v", pid, err)
		}
		if _, err := p.Wait(t.Context()); !errors.Is(err, unix.ECHILD) {
			t.Errorf("a wait for process %d: %v", pid, err)
		}
	}
}
