//go:build linux

package vspawn

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

const bubbleEnv = "VSPAWN_IN_BUBBLE"

// A program that first starts children in a bubble of testing/synctest, where time is not
// the world's, waits and starts like any other behind it. Such a bubble's timers and channels
// are of no use to others.
func TestBubble(t *testing.T) {
	path, sleeps := exits(t, 0)[0], helper.Emulate(tiny.Sleep(t))
	if f, err := probe(); err != nil || !f.LoneCoreDump {
		t.Skip("before Linux 5.16 each start sets a timer, for the dumpable flag, which would be the bubble's: ", err)
	}
	if os.Getenv(bubbleEnv) == "" {
		helper.SkipEmulated(t, "test binary to be run again")
		cmd := exec.Command(os.Args[0], "-test.run=^TestBubble$", "-test.timeout=5m") // in a process of its own: once
		cmd.Env = append(os.Environ(), bubbleEnv+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	enough := errors.New("enough")
	wait := func() {
		p := startArgv(t, nil, sleeps)
		ctx, cancel := context.WithTimeoutCause(context.Background(), 20*time.Millisecond, enough)
		defer cancel()
		if _, err := p.Wait(ctx); err != enough {
			t.Errorf("got %v", err)
		}
		p.Kill()
		p.Wait(context.Background())
	}
	run := func() {
		for range 5 {
			if s, err := Run(context.Background(), path, nil, nil); err != nil || !s.Success() {
				t.Errorf("%v, %v", s, err)
			}
		}
	}
	for range 20 { // the timer is set anew in some
		time.Sleep(3 * time.Millisecond)
		synctest.Test(t, func(t *testing.T) { run() })
	}
	wait()
	var pid atomic.Int64
	go func() {
		for pid.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond) // it may wait by then
		unix.Kill(int(pid.Load()), unix.SIGKILL)
	}()
	synctest.Test(t, func(t *testing.T) {
		p := startArgv(t, nil, sleeps)
		pid.Store(int64(p.Pid()))
		if s, err := p.Wait(context.Background()); err != nil || s.Signal() != unix.SIGKILL {
			t.Errorf("%v, %v", s, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		run()
		time.Sleep(time.Hour) // of the bubble's
	})
	wait()

	h := tight(1)
	held, err := h.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for h.counts()[1] == 0 {
			time.Sleep(time.Millisecond)
		}
		h.leave(held)
	}()
	synctest.Test(t, func(t *testing.T) {
		p, err := h.enter(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		h.leave(p)
	})
}
