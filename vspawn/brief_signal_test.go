//go:build linux

package vspawn

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// Where SIGURG does not come through to a thread it could not be taken back, and so it
// does not wait there.
func TestRecallWithoutSignal(t *testing.T) {
	needRecall(t)
	check := func(t *testing.T) {
		p := lives(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		go func() {
			defer cancel(enough)
			for end := time.Now().Add(time.Minute); time.Now().Before(end); runtime.Gosched() {
				p.mu.Lock()
				in, over := p.briefly != nil, p.ended != nil
				p.mu.Unlock()
				if in {
					t.Error("it waits where it can't be taken back")
				}
				if in || over {
					return
				}
			}
		}()
		if _, err := p.Wait(ctx); err != enough {
			t.Errorf("got %v", err)
		}
	}
	t.Run("ignored", func(t *testing.T) {
		signal.Ignore(unix.SIGURG)
		defer heedUrgent()
		check(t)
	})
	t.Run("blocked", func(t *testing.T) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var set, was unix.Sigset_t
		set.Val[0] = 1 << (unix.SIGURG - 1)
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &was); err != nil {
			t.Fatal(err)
		}
		defer unix.PthreadSigmask(unix.SIG_SETMASK, &was, nil)
		check(t)
	})
}

// heedUrgent gives SIGURG its handler back, which signal.Reset does not after Ignore.
func heedUrgent() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGURG)
	signal.Stop(c)
}

// A program may ignore SIGURG, or all signals, while a thread waits already: another takes it
// back, or SIGURG is heeded for the moment.
func TestRecallIgnored(t *testing.T) {
	needRecall(t)
	defer heedUrgent()
	p := lives(t)
	for _, ignored := range [][]os.Signal{{unix.SIGURG}, {unix.SIGURG, unix.SIGCHLD, unix.SIGWINCH}} {
		for range 20 {
			heedUrgent()
			w := &briefWait{p: p}
			var slot *atomic.Pointer[briefWait]
			if briefs.able() {
				slot = briefs.take(w)
			}
			if slot == nil {
				t.Fatal("there is no place")
			}
			came := make(chan error, 1)
			go func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				if !w.begin() {
					t.Error("it can't begin")
				}
				signal.Ignore(ignored...)
				err := waitid(unix.P_PIDFD, w.pidfd, &w.info, unix.WEXITED|unix.WNOWAIT, nil)
				w.end()
				slot.Store(nil)
				came <- err
			}()
			if err := <-came; err != unix.EAGAIN {
				t.Errorf("waitid gives %v", err)
			}
			if !signal.Ignored(unix.SIGURG) {
				t.Error("the program's wish is forgotten")
			}
			for _, s := range ignored {
				c := make(chan os.Signal, 1)
				signal.Notify(c, s)
				signal.Stop(c)
			}
		}
	}
}

// firstWait waits for a child as the first thing that might set a timer, while no
// descriptor is free, of which Go's runtime needs two for its first timer.
var firstWait = helper.New("first-wait", func(argv []string) int {
	if _, err := Features(); err != nil {
		return complain(err)
	}
	for range 20 {
		p, err := Start(context.Background(), argv[0], argv, nil)
		if err != nil {
			return complain(err)
		}
		var waitErr error
		err = withoutDescriptors(func() { _, waitErr = p.Wait(context.Background()) })
		if err = errors.Join(err, waitErr); err != nil && !errors.Is(err, unix.EMFILE) {
			return complain(err)
		}
		if _, err := p.Wait(context.Background()); err != nil {
			return complain(err)
		}
	}
	return 0
})

func TestFirstWaitWithoutDescriptors(t *testing.T) {
	helper.SkipEmulated(t, "limits of its own")
	argv := firstWait.Argv(tiny.Exit(t, 0))
	needRecall(t) // before it each start sets a timer
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
