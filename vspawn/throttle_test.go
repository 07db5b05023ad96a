//go:build linux

package vspawn

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// tight is a throttle for n, whose timer does not come.
func tight(n int) *throttle {
	never := time.AfterFunc(time.Hour, func() {})
	never.Stop()
	return &throttle{most: func() int { return n }, set: true, timer: never}
}

// counts are how many are inside, and how many wait.
func (t *throttle) counts() [2]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return [2]int{len(t.inside), len(t.waiting)}
}

// entering has a goroutine enter, and returns when it waits.
func entering(ctx context.Context, t *testing.T, h *throttle) chan error {
	t.Helper()
	before := h.counts()
	answer := make(chan error, 1)
	go func() {
		_, err := h.enter(ctx)
		answer <- err
	}()
	soon(t, "one who waits", func() bool { return h.counts()[1] > before[1] })
	return answer
}

// So many start at a time, and the others in the order in which they came; one that gives
// up is none.
func TestThrottle(t *testing.T) {
	h := tight(2)
	a, err := h.enter(t.Context())
	b, err2 := h.enter(t.Context())
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	gone := entering(ctx, t, h)
	first, second := entering(t.Context(), t, h), entering(t.Context(), t, h)
	cancel(enough)
	if err := <-gone; !errors.Is(err, enough) {
		t.Errorf("the one that gives up gets %v", err)
	}
	expect := func(inside, waiting int) {
		t.Helper()
		if got := h.counts(); got != [2]int{inside, waiting} {
			t.Errorf("%d are inside and %d wait, want %d and %d", got[0], got[1], inside, waiting)
		}
	}
	expect(2, 2)
	h.leave(a)
	expect(2, 1)
	if err := <-first; err != nil {
		t.Error(err)
	}
	h.leave(b)
	expect(2, 0)
	if err := <-second; err != nil {
		t.Error(err)
	}
	for _, p := range slices.Clone(h.inside) {
		h.leave(p)
	}
	expect(0, 0)
}

// One that is let in as its context ends is inside, or has given up, and no other in its place.
func TestThrottleBoth(t *testing.T) {
	h := tight(1)
	enough := errors.New("enough")
	for range 2000 {
		held, err := h.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		type answer struct {
			p   *passage
			err error
		}
		came := make(chan answer, 1)
		go func() {
			p, err := h.enter(ctx)
			came <- answer{p, err}
		}()
		for h.counts()[1] == 0 {
			runtime.Gosched()
		}
		go cancel(enough)
		h.leave(held)
		if a := <-came; a.err == nil {
			h.leave(a.p)
		} else if !errors.Is(a.err, enough) {
			t.Fatal(a.err)
		}
		if got := h.counts(); got != [2]int{} {
			t.Fatalf("%v are left", got)
		}
	}
}

// One who stays holds nobody up for long, and is no more counted when it leaves.
func TestThrottleHeld(t *testing.T) {
	h := &throttle{most: func() int { return 1 }}
	held, err := h.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p, err := h.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer h.leave(p)
	}
	h.leave(held)
	if len(h.inside) > 1 {
		t.Errorf("%d are inside, where one is let in", len(h.inside))
	}
}

// Those who stay hold a long row up for not much longer than a short one.
func TestThrottleRow(t *testing.T) {
	h := tight(2)
	for range 1000 {
		entered := make(chan bool, 1)
		go func() {
			h.enter(t.Context())
			entered <- true
		}()
		if got := h.counts(); got[0] < 2 {
			<-entered
		}
	}
	soon(t, "the row", func() bool { got := h.counts(); return got[0]+got[1] == 1000 })
	looks := 0
	for ; h.counts()[1] > 0; looks++ {
		h.look()
		h.timer.Stop()
	}
	if looks > 30 {
		t.Errorf("after %d looks all are inside", looks)
	}
}

// More starts than are let in at a time hang before their exec, and others go on.
func TestStartBesideHangingOnes(t *testing.T) {
	helper.SkipEmulated(t, "a child that shares memory, which could be held")
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(min(4, runtime.GOMAXPROCS(0)))) // it is many threads enough
	path := exits(t, 0)[0]
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	hangs := &Attr{Syscalls: []Syscall{{Before: "Seccomp", Name: "read", Nr: unix.SYS_READ,
		Args: [6]uintptr{uintptr(p[0]), scratch.words64([]uint64{0}), 8}}}, InheritFiles: true}
	n := 2*starts.most() + 1
	began := underWay.Load()
	ended := make(chan error, n)
	for range n {
		go func() {
			c, err := Start(t.Context(), path, nil, hangs)
			if err == nil {
				_, err = c.Wait(t.Context())
			}
			ended <- err
		}()
	}
	soon(t, "the hanging starts", func() bool { return underWay.Load()-began == int64(n) })
	for range 20 {
		if s, err := Run(t.Context(), path, nil, nil); err != nil || !s.Success() {
			t.Errorf("%v, %v", s, err)
		}
	}
	unix.Write(p[1], make([]byte, 8*n))
	for range n {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	unix.Close(p[0])
	unix.Close(p[1])
}

// With one processor, who starts one child after the other gives the others a turn.
func TestStartsGiveWay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	plan, err := Compile(exits(t, 0)[0], nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var turns atomic.Int64
	over := make(chan bool)
	defer close(over)
	go func() {
		for !closed(over) {
			turns.Add(1)
			runtime.Gosched()
		}
	}()
	const starts = 200
	without := 0
	for range starts {
		before := turns.Load()
		p, err := plan.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if turns.Load() == before {
			without++
		}
		p.Wait(t.Context())
	}
	if without > starts/4 { // the scheduler may take us first
		t.Errorf("%d of %d starts gave nobody a turn", without, starts)
	}
}

func closed(c chan bool) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
