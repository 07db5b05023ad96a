//go:build linux

package vspawn

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// Starts that follow each other so closely that there is always one with the
// lock pass it on all the same.
func TestForkLockPassedOn(t *testing.T) {
	var l forkLock
	var turns atomic.Int64
	var over atomic.Bool
	var starts sync.WaitGroup
	for range 2 {
		starts.Go(func() {
			for in := new(instance); !over.Load(); turns.Add(1) {
				if err := l.enter(t.Context(), in); err != nil {
					t.Error(err)
				}
				for last := true; last && !over.Load(); runtime.Gosched() {
					l.mu.Lock()
					last = len(l.waiting) == 0 && l.unborn[len(l.unborn)-1] == in
					l.mu.Unlock()
				}
				l.leave(in)
			}
		})
	}
	for turns.Load() < 4 {
		runtime.Gosched()
	}
	got := make(chan struct{})
	before := turns.Load()
	go func() {
		syscall.ForkLock.Lock()
		syscall.ForkLock.Unlock() //lint:ignore SA2001 that is all
		close(got)
	}()
	const many = 200_000
	for waits := true; waits && turns.Load()-before < many; runtime.Gosched() {
		select {
		case <-got:
			waits = false
		default:
		}
	}
	meanwhile := turns.Load() - before
	over.Store(true)
	starts.Wait()
	<-got
	t.Log("turns of others meanwhile: ", meanwhile)
	if meanwhile >= many {
		t.Error("another that waits for the lock does not get it")
	}
}

// While another has the lock, a start that needs it can be cancelled. It leaves
// no descriptor.
func TestForkLockCancelled(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			argv := exits(t, 0)
			start := func(ctx context.Context) (*Process, error) {
				return Start(ctx, argv[0], argv, &Attr{InheritFiles: true})
			}
			fds := func() int {
				dir, err := os.ReadDir("/proc/self/fd")
				if err != nil {
					t.Fatal(err)
				}
				return len(dir)
			}
			soon(t, "the end of looks at children", func() bool { dumpable.mu.Lock(); defer dumpable.mu.Unlock(); return !dumpable.pending })
			before := fds()
			syscall.ForkLock.RLock()
			ctx, cancel := context.WithCancelCause(t.Context())
			cause := errors.New("enough")
			go func() {
				for waits := false; !waits; runtime.Gosched() {
					forking.mu.Lock()
					waits = len(forking.waiting) > 0
					forking.mu.Unlock()
				}
				cancel(cause)
			}()
			err := inTime(func() error {
				_, err := start(ctx)
				return err
			})
			syscall.ForkLock.RUnlock()
			if !errors.Is(err, cause) {
				t.Errorf("got %v, want %v", err, cause)
			}
			if after := fds(); after != before {
				t.Errorf("%d descriptors are open, there were %d", after, before)
			}
			p, err := start(t.Context()) // the lock is left in order
			if err != nil {
				t.Fatal(err)
			}
			if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
				t.Error(s, err)
			}
		})
	}
}
