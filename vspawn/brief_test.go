//go:build linux

package vspawn

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// needRecall skips where no thread can be taken back from waitid.
func needRecall(t *testing.T) {
	t.Helper()
	f, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	if !f.recall {
		if f.Pidfd && releaseAtLeast(5, 10) {
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

// waitingBriefly calls Wait, and returns when that is in brief, or was.
func waitingBriefly(ctx context.Context, t *testing.T, p *Process) (answer chan error, was bool) {
	t.Helper()
	answer = make(chan error, 1)
	go func() {
		_, err := p.Wait(ctx)
		answer <- err
	}()
	for {
		p.mu.Lock()
		in, over := p.briefly != nil, p.ended != nil
		p.mu.Unlock()
		if in || over {
			return answer, in
		}
		runtime.Gosched()
	}
}

// some fails a test that has never seen what it is about.
func some(t *testing.T, seen int) {
	t.Helper()
	if seen == 0 {
		t.Error("no thread was seen that waited")
	}
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

// A wait leaves its thread when the child lives on, and heeds its context then.
func TestRecall(t *testing.T) {
	needRecall(t)
	p := lives(t)
	seen := 0
	for range 50 {
		ctx, cancel := context.WithCancelCause(t.Context())
		answer, was := waitingBriefly(ctx, t, p)
		if was {
			seen++
		}
		soon(t, "the thread", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.briefly == nil && p.ended != nil
		})
		if !blocks(t, p.pidfd) {
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
	some(t, seen)
}

// Who has a copy of the pidfd may set its flags, and wait by it himself: no thread waits by
// it then, and none changes them.
func TestRecallBesidePidfd(t *testing.T) {
	needRecall(t)
	seen := 0
	for range 50 {
		p := lives(t)
		ctx, cancel := context.WithCancel(t.Context())
		answer, was := waitingBriefly(ctx, t, p)
		if was {
			seen++
		}
		shared, err := p.Pidfd()
		if err != nil {
			t.Fatal(err)
		}
		p.mu.Lock()
		if p.briefly != nil {
			t.Error("a thread waits by what others have")
		}
		p.mu.Unlock()
		if !blocks(t, shared) {
			t.Error("it does not block")
		}
		unix.SetNonblock(shared, true)
		soon(t, "the poller", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.ended != nil
		})
		if blocks(t, shared) {
			t.Error("it blocks")
		}
		cancel()
		<-answer
		unix.Close(shared)
	}
	some(t, seen)
}

// Close ends a wait, and the descriptor that the thread waits by is its own until it is
// back: nobody else gets its number meanwhile.
func TestCloseBesideBrief(t *testing.T) {
	needRecall(t)
	seen := 0
	for range 50 {
		p := startSleep(t, nil)
		fd := p.pidfd
		answer, _ := waitingBriefly(t.Context(), t, p)
		p.mu.Lock()
		w := p.briefly
		if w == nil { // it was taken back already
			p.mu.Unlock()
			p.Kill()
			<-answer
			continue
		}
		seen++
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
	some(t, seen)
}

// Another may reap the child while a thread waits for it.
func TestPollBesideBrief(t *testing.T) {
	needRecall(t)
	seen := 0
	for range 50 {
		p := startSleep(t, nil)
		answer, was := waitingBriefly(t.Context(), t, p)
		if was {
			seen++
		}
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
	some(t, seen)
}

// A Process that is busy holds no other's wait up.
func TestRecallBesideBusy(t *testing.T) {
	needRecall(t)
	busy, p := lives(t), lives(t)
	enough := errors.New("enough")
	for range 20 {
		_, was := waitingBriefly(t.Context(), t, busy)
		if !was {
			busy = lives(t)
			continue
		}
		busy.mu.Lock()
		if busy.briefly == nil {
			busy.mu.Unlock()
			busy = lives(t)
			continue
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Millisecond, enough)
		if _, err := p.Wait(ctx); err != enough {
			t.Errorf("got %v", err)
		}
		if busy.briefly == nil {
			t.Error("it was not held") // which could not be, while its mu is
		}
		cancel()
		busy.mu.Unlock()
		return
	}
	t.Error("no thread was seen that waited")
}
