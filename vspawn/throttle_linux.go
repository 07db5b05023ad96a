package vspawn

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// starts lets so many starts into the kernel at a time as the machine can do something
// for. Each holds a thread there, and a hundred of them take turns on the processors in
// no order, so that some take ten times as long as the others, and all a little longer
// than in a row.
var starts = throttle{most: sync.OnceValue(func() int { return perProcessor * runtime.GOMAXPROCS(0) })}

const perProcessor = 4

// A throttle lets a number pass at a time. One that takes long, as an exec on a dead
// network file system does, counts no more: it holds nobody up for longer than holdUp.
type throttle struct {
	most func() int

	mu      sync.Mutex
	inside  []*passage // those that count
	waiting []*passage
	spare   []*passage // to be used again
	timer   *time.Timer
	set     bool // the timer
}

// holdUp is how long one counts that others wait for, and up to twice that.
const holdUp = 2 * time.Millisecond

// A passage is one that is inside, or waits.
type passage struct {
	enter chan struct{} // closed once it is inside; nil if it did not wait
	seen  bool          // by the timer
}

// enter waits to be let in. When ctx ends first it returns its cause.
func (t *throttle) enter(ctx context.Context) (*passage, error) {
	t.mu.Lock()
	p := t.passage()
	if len(t.waiting) == 0 && len(t.inside) < t.most() || !t.watch() {
		t.inside = append(t.inside, p)
		t.mu.Unlock()
		return p, nil
	}
	p.enter = make(chan struct{})
	t.waiting = append(t.waiting, p)
	t.mu.Unlock()
	select {
	case <-p.enter:
		return p, nil
	case <-ctx.Done():
		t.leave(p)
		return nil, &Error{Step: "start", Err: context.Cause(ctx)}
	}
}

// leave is called by who is through, or does not want to wait any longer.
func (t *throttle) leave(p *passage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := func(q *passage) bool { return q == p }
	t.inside, t.waiting = slices.DeleteFunc(t.inside, gone), slices.DeleteFunc(t.waiting, gone)
	t.admit()
	if *p = (passage{}); len(t.spare) < t.most() {
		t.spare = append(t.spare, p)
	}
}

// passage is a new one. The caller holds mu.
func (t *throttle) passage() (p *passage) {
	if n := len(t.spare); n > 0 {
		p, t.spare = t.spare[n-1], t.spare[:n-1]
		return p
	}
	return new(passage)
}

// admit lets in whom there is room for. The caller holds mu.
func (t *throttle) admit() {
	n := min(len(t.waiting), max(t.most()-len(t.inside), 0))
	for _, p := range t.waiting[:n] {
		t.inside = append(t.inside, p)
		close(p.enter)
	}
	t.waiting = slices.Delete(t.waiting, 0, n)
}

// watch has someone look at those inside, for one who is to wait. It is false if that
// can't be had. The caller holds mu.
func (t *throttle) watch() bool {
	switch {
	case t.set:
	case t.timer != nil:
		t.timer.Reset(holdUp)
	case !timersAreSafe():
		return false
	default:
		t.timer = time.AfterFunc(holdUp, t.look)
	}
	t.set = true
	return true
}

// look has those that were there at the last look count no more.
func (t *throttle) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside = slices.DeleteFunc(t.inside, func(p *passage) bool { return p.seen })
	for _, p := range t.inside {
		p.seen = true
	}
	t.admit()
	if t.set = len(t.waiting) > 0; t.set {
		t.timer.Reset(holdUp)
	}
}
