//go:build linux

package vspawn

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// needRecall skips where no thread can be taken back from waitid.
func needRecall(t *testing.T) {
	t.Helper()
	f, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	if !f.recall {
		if releaseAtLeast(5, 10) {
			t.Fatal("the kernel has what it takes, and it was not found")
		}
		t.Skip("a pidfd with O_NONBLOCK is not heeded by waitid (Linux 5.10)")
	}
	was := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(maxBrief + 1)
	t.Cleanup(func() { runtime.GOMAXPROCS(was) })
}

// lives starts a program that lives until the test is over.
func lives(t *testing.T) *Process {
	t.Helper()
	p := startSleep(t, nil)
	t.Cleanup(func() {
		p.Kill()
		p.Wait(context.Background())
	})
	return p
}

// waitingBriefly calls Wait, and returns when that is in brief.
func waitingBriefly(ctx context.Context, t *testing.T, p *Process) chan error {
	t.Helper()
	answer := make(chan error, 1)
	go func() {
		_, err := p.Wait(ctx)
		answer <- err
	}()
	soon(t, "the wait", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.briefly != nil || p.ended != nil
	})
	return answer
}

// blocks tells whether a descriptor does: O_NONBLOCK is not set.
func blocks(t *testing.T, fd int) bool {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return flags&unix.O_NONBLOCK == 0
}

// A wait leaves its thread when the child lives on, and heeds its context then. The pidfd,
// which others have too, is as it was.
func TestRecall(t *testing.T) {
	needRecall(t)
	p := lives(t)
	shared, err := p.Pidfd()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(shared)
	for range 20 {
		ctx, cancel := context.WithCancelCause(t.Context())
		answer := waitingBriefly(ctx, t, p)
		soon(t, "the thread", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.briefly == nil && p.ended != nil
		})
		if !blocks(t, shared) {
			t.Error("the pidfd does not block any more")
		}
		enough := errors.New("enough")
		cancel(enough)
		if err := <-answer; err != enough {
			t.Errorf("got %v", err)
		}
		ends.remove(p.token) // as if nobody had waited yet
		unix.EpollCtl(ends.fd, unix.EPOLL_CTL_DEL, p.pidfd, nil)
		p.mu.Lock()
		p.ended, p.token = nil, 0
		p.mu.Unlock()
	}
}

// One that may not block by its owner's will stays so, and a wait goes by the poller.
func TestRecallNonblocking(t *testing.T) {
	needRecall(t)
	p := lives(t)
	shared, err := p.Pidfd()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(shared)
	unix.SetNonblock(shared, true)
	ctx, cancel := context.WithCancel(t.Context())
	answer := waitingBriefly(ctx, t, p)
	cancel()
	<-answer
	if blocks(t, shared) {
		t.Error("it blocks now")
	}
}

// Close ends a wait, and the descriptor that the thread waits by is its own until it is
// back: nobody else gets its number meanwhile.
func TestCloseBesideBrief(t *testing.T) {
	needRecall(t)
	for range 50 {
		p := startSleep(t, nil)
		fd := p.pidfd
		answer := waitingBriefly(t.Context(), t, p)
		p.mu.Lock()
		w := p.briefly
		if w == nil { // it was taken back already
			p.mu.Unlock()
			p.Kill()
			<-answer
			continue
		}
		pid := p.pid
		p.err = os.ErrClosed
		p.release()
		if !w.owns || p.pidfd >= 0 {
			t.Error("the thread's descriptor is not left to it")
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Errorf("its descriptor is closed under it: %v", err)
		}
		p.mu.Unlock()
		if err := <-answer; err != os.ErrClosed {
			t.Errorf("the wait gives %v", err)
		}
		unix.Kill(pid, unix.SIGKILL)
		ignoringEINTR(func() error { _, err := unix.Wait4(pid, nil, 0, nil); return err })
	}
}

// Another may reap the child while a thread waits for it.
func TestPollBesideBrief(t *testing.T) {
	needRecall(t)
	for range 50 {
		p := startSleep(t, nil)
		answer := waitingBriefly(t.Context(), t, p)
		p.Kill()
		soon(t, "the end", func() bool {
			s, err := p.Poll()
			if err != nil {
				t.Fatal(err)
			}
			return s != nil
		})
		if err := <-answer; err != nil {
			t.Error(err)
		}
	}
}

// Where SIGURG does not come through to a thread it could not be taken back, and so it
// does not wait there.
func TestRecallWithoutSignal(t *testing.T) {
	needRecall(t)
	check := func(t *testing.T) {
		p := lives(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		go func() {
			soon(t, "the wait", func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				if p.briefly != nil {
					t.Error("it waits where it can't be taken back")
				}
				return p.ended != nil
			})
			cancel(enough)
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

// A program may ignore SIGURG while a thread waits already: another signal takes it back.
func TestRecallByAnotherSignal(t *testing.T) {
	needRecall(t)
	defer heedUrgent()
	p := lives(t)
	enough := errors.New("enough")
	for range 20 {
		heedUrgent()
		w := &briefWait{p: p}
		slot, able := briefs.take(w)
		if !able || slot == nil {
			t.Fatal("there is no place")
		}
		came := make(chan unix.Errno, 1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if !w.begin() {
				t.Error("it can't begin")
			}
			signal.Ignore(unix.SIGURG)
			err := waitid(unix.P_PIDFD, w.pidfd, &w.info, unix.WEXITED|unix.WNOWAIT, nil)
			w.end()
			slot.Store(nil)
			errno, _ := err.(unix.Errno)
			came <- errno
		}()
		if errno := <-came; errno != unix.EAGAIN {
			t.Errorf("waitid gives %v", errno)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	if _, err := p.Wait(ctx); err != enough {
		t.Errorf("got %v", err)
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
