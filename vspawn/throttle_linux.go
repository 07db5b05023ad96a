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
var starts = throttle{most: func() int { return perProcessor * runtime.GOMAXPROCS(0) }}

const perProcessor = 4

// A throttle lets a number pass at a time. One that takes long, as an exec on a dead
// network file system does, counts no more: see look.
type throttle struct {
	most func() int

	mu      sync.Mutex
	inside  []*passage // those that count
	waiting []*passage
	spare   []*passage // to be used again
	extra   int        // how many more may be inside, since some take long
	timer   *time.Timer
	set     bool // the timer
}

// holdUp is how long one counts that others wait for, and up to twice that.
const holdUp = 2 * time.Millisecond

// A passage is one that is inside, or waits.
type passage struct {
	gate sync.Mutex // held while it waits; no channel, which could be one of a bubble of testing/synctest alone
	seen bool       // by the timer

	known bool // to a function that is still to be called
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
	p.gate.Lock()
	t.waiting = append(t.waiting, p)
	t.mu.Unlock()
	gaveUp := false // under mu
	stop := context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if i := slices.Index(t.waiting, p); i >= 0 {
			t.waiting = slices.Delete(t.waiting, i, i+1)
			gaveUp = true
			p.gate.Unlock()
		}
	})
	p.gate.Lock()
	p.known = !stop() // that may come yet, and is not to find it in another's hands
	p.gate.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if gaveUp {
		t.over(p)
		return nil, &Error{Step: "start", Err: context.Cause(ctx)}
	}
	return p, nil
}

// leave is called by who is through.
func (t *throttle) leave(p *passage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.inside, p); i >= 0 { // or it counts no more
		t.inside = slices.Delete(t.inside, i, i+1)
	}
	t.admit()
	t.over(p)
}

// over is the end of a passage. The caller holds mu.
func (t *throttle) over(p *passage) {
	if p.seen = false; !p.known && len(t.spare) < maxSpare {
		t.spare = append(t.spare, p)
	}
}

const maxSpare = 64

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
	n := min(len(t.waiting), max(t.most()+t.extra-len(t.inside), 0))
	for _, p := range t.waiting[:n] {
		t.inside = append(t.inside, p)
		p.gate.Unlock()
	}
	if t.waiting = slices.Delete(t.waiting, 0, n); len(t.waiting) == 0 {
		t.extra = 0
	}
}

// watch has someone look at those inside, for one who is to wait. It is false if that
// can't be had. The caller holds mu.
func (t *throttle) watch() bool {
	switch {
	case t.set:
	case !timersAreSafe():
		return false
	case t.timer != nil:
		t.timer.Reset(holdUp)
	default:
		t.timer = time.AfterFunc(holdUp, t.look)
	}
	t.set = true
	return true
}

// look has those that were there at the last look count no more. Where there were such, those
// who wait may be alike: so more are let in, each time twice as many.
func (t *throttle) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := len(t.inside)
	t.inside = slices.DeleteFunc(t.inside, func(p *passage) bool { return p.seen })
	if long := before - len(t.inside); long > 0 {
		t.extra = 2*t.extra + long
	}
	for _, p := range t.inside {
		p.seen = true
	}
	t.admit()
	if t.set = len(t.waiting) > 0; t.set {
		t.timer.Reset(holdUp)
	}
}
