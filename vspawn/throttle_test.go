//go:build linux

package vspawn

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// tight is a throttle for n, whose timer does not come.
func tight(n int) *throttle { return &throttle{most: func() int { return n }, set: true} }

// entering has a goroutine enter, and waits until it waits.
func entering(ctx context.Context, t *testing.T, h *throttle) chan error {
	t.Helper()
	h.mu.Lock()
	before := len(h.waiting)
	h.mu.Unlock()
	answer := make(chan error, 1)
	go func() {
		_, err := h.enter(ctx)
		answer <- err
	}()
	soon(t, "one who waits", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.waiting) > before
	})
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
	if len(first) > 0 || len(second) > 0 {
		t.Error("there is no room, and one is let in")
	}
	h.leave(a)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if len(second) > 0 {
		t.Error("there is room for one, and two are let in")
	}
	h.leave(b)
	if err := <-second; err != nil {
		t.Error(err)
	}
	for _, p := range slices.Clone(h.inside) {
		h.leave(p)
	}
	if len(h.inside)+len(h.waiting) > 0 {
		t.Errorf("%d are inside, %d wait, after all have left", len(h.inside), len(h.waiting))
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

// More starts than are let in at a time hang before their exec, and others go on.
func TestStartBesideHangingOnes(t *testing.T) {
	helper.SkipEmulated(t, "a child that shares memory, which could be held")
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
	close(over)
	t.Logf("%d of %d", without, starts)
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
