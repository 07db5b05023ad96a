package vspawn

import (
	"context"
	"slices"
	"sync"
	"syscall"
	"time"
)

// forking holds syscall.ForkLock while a child that inherits what the plan does
// not know is being born: what others open without O_CLOEXEC for a moment, they
// open under it. The child has its copy of the table once it has a number, so it
// may hang on its way to exec without holding anyone up.
//
// The starts share the hold, and don't wait for each other. But none joins one
// that is older than longestHold: others' starts, syscall.ForkExec's, wait for
// the lock too, and would not get it among many of ours.
var forking forkLock

const longestHold = time.Millisecond

type forkLock struct {
	mu      sync.Mutex
	held    bool
	since   time.Time   // if it is held
	unborn  []*instance // those that share it
	watch   *time.Timer // looks which of them are born
	asked   bool        // a goroutine waits for the lock, for those that wait here
	waiting []*inheritor
}

// An inheritor is a start that waits for the lock.
type inheritor struct {
	in    *instance
	enter chan struct{} // closed once it shares the hold
}

// enter waits until in's child may be born. When ctx ends first, it returns its
// cause.
func (l *forkLock) enter(ctx context.Context, in *instance) error {
	l.mu.Lock()
	if l.share(in) {
		l.mu.Unlock()
		return nil
	}
	w := &inheritor{in, make(chan struct{})}
	l.waiting = append(l.waiting, w)
	l.ask()
	l.mu.Unlock()
	select {
	case <-w.enter:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	if i := slices.Index(l.waiting, w); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	l.mu.Unlock()
	l.leave(in)
	return &Error{Step: "start", Err: context.Cause(ctx)}
}

// share lets in share the hold, or take the lock, if that is possible at once.
// The caller holds mu, as for what follows.
func (l *forkLock) share(in *instance) bool {
	switch {
	case l.held && time.Since(l.since) < longestHold:
	case !l.held && !l.asked && syscall.ForkLock.TryLock():
		l.take()
	default:
		return false
	}
	l.unborn = append(l.unborn, in)
	return true
}

// take begins a hold.
func (l *forkLock) take() {
	l.held, l.since = true, time.Now()
	if l.watch == nil {
		l.watch = time.AfterFunc(longestHold, l.look)
	} else {
		l.watch.Reset(longestHold)
	}
}

// ask has a goroutine wait for the lock: it can't be given up.
func (l *forkLock) ask() {
	if l.held || l.asked {
		return
	}
	l.asked = true
	go func() {
		syscall.ForkLock.Lock()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.asked = false
		l.take()
		for _, w := range l.waiting {
			l.unborn = append(l.unborn, w.in)
			close(w.enter)
		}
		l.waiting = nil
		l.settle()
	}()
}

// settle ends the hold if all children that it is for are born.
func (l *forkLock) settle() {
	l.unborn = slices.DeleteFunc(l.unborn, func(in *instance) bool { return in.pid() != 0 })
	if l.held && len(l.unborn) == 0 {
		l.held = false
		l.watch.Stop()
		syscall.ForkLock.Unlock()
		if len(l.waiting) > 0 {
			l.ask()
		}
	}
}

// look is called as long as the lock is held.
func (l *forkLock) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.settle(); l.held {
		l.watch.Reset(longestHold)
	}
}

// leave is called when in's child is born, or will not be.
func (l *forkLock) leave(in *instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.unborn, in); i >= 0 {
		l.unborn = slices.Delete(l.unborn, i, i+1)
	}
	l.settle()
}
