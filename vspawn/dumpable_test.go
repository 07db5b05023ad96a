//go:build linux

package vspawn

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// The flag comes back when the last of several starts that concern it is over,
// and not before.
func TestDumpableNests(t *testing.T) {
	was := settled(t)
	credentials, plain := &Plan{compiled: &compiled{credentials: true}}, &Plan{compiled: &compiled{}}
	for _, f := range []*FeatureSet{full, {SharedMemory: true}} {
		d := new(dumpableFlag)
		for _, p := range []*Plan{credentials, plain} {
			off := 0
			if p == plain && f.LoneCoreDump {
				off = was
			}
			first := d.enter(p, f)
			if got := d.get(); got != off {
				t.Errorf("%+v: flag is %d, want %d", f, got, off)
			}
			second := d.enter(credentials, f)
			if got := d.get(); got != 0 {
				t.Errorf("%+v: flag is %d beside one that changes its credentials", f, got)
			}
			d.leave(second)
			if off == 0 && d.get() != 0 {
				t.Errorf("%+v: flag is on while a child is under way", f)
			}
			soon(t, "the flag of before", func() bool { return d.get() == off })
			d.leave(first)
			soon(t, "the flag", func() bool { return d.get() == was })
		}
	}
}

// A flag that was 0 stays so, one that SetDumpable sets meanwhile comes when the
// last start is over, and the kernel's word counts where our ids have changed.
func TestSetDumpable(t *testing.T) {
	was := settled(t)
	defer dumpable.set(was)
	d := &dumpable // SetDumpable's
	credentials := &Plan{compiled: &compiled{credentials: true}}
	check := func(what string, want int) {
		t.Helper()
		soon(t, what, func() bool { d.mu.Lock(); defer d.mu.Unlock(); return !d.pending })
		if got := d.get(); got != want {
			t.Errorf("%s: flag is %d, want %d", what, got, want)
		}
	}
	set := func(v int) {
		t.Helper()
		if err := SetDumpable(v); err != nil {
			t.Fatal(err)
		}
	}
	set(1)
	check("set to 1", 1)
	set(0)
	check("set to 0", 0)
	h := d.enter(credentials, full)
	d.leave(h)
	check("after one that began with 0", 0)
	h = d.enter(credentials, full)
	set(1)
	check("set to 1 during a start", 0)
	d.leave(h)
	check("after it", 1)
	h = d.enter(credentials, full)
	set(0)
	d.leave(h)
	check("set to 0 during a start, after it", 0)
	set(1)
	h = d.enter(credentials, full)
	d.ids[0]++ // as if they had been others then
	d.leave(h)
	check("after our own ids have changed", 0)
	for _, v := range []int{-1, 2} {
		if err := SetDumpable(v); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("SetDumpable(%d): %v", v, err)
		}
	}
}

// While it is off, a file below /proc is opened with it on, unless a child of
// another start may have another user's credentials.
func TestDumpableOwn(t *testing.T) {
	if rootFilesAreOurs() {
		asOther(t)
	}
	f := &FeatureSet{SharedMemory: true}
	credentials, plain := &Plan{compiled: &compiled{credentials: true}}, &Plan{compiled: &compiled{}}
	waiting := &Plan{compiled: &compiled{credentials: true, maps: []mapFile{{}}}}
	d := new(dumpableFlag)
	own := func(h *hold) (flag int, others bool) {
		others, _ = d.own(h, func() error { flag = d.get(); return nil })
		return flag, others
	}
	check := func(what string, h *hold, wantFlag int, wantOthers bool) {
		t.Helper()
		if flag, others := own(h); flag != wantFlag || others != wantOthers {
			t.Errorf("%s: flag is %d, for others' sake %t; want %d, %t", what, flag, others, wantFlag, wantOthers)
		}
	}
	h := d.enter(plain, f)
	check("for one", &h, 1, false)
	if got := d.get(); got != 0 {
		t.Errorf("after it: flag is %d", got)
	}
	w := d.enter(waiting, f)
	check("beside one that waits for its maps", &h, 1, false)
	d.change(&w)
	d.change(&w)
	check("when that goes on", &h, 0, true)
	check("when that goes on, for itself", &w, 0, false)
	c := d.enter(credentials, f)
	d.leave(w)
	check("beside other credentials", &h, 0, true)
	turns, ok := d.turn()
	d.leave(c)
	check("and after them", &h, 1, false)
	if n, _ := d.turn(); n != turns+1 || !ok {
		t.Errorf("%d turns, then %d, %t", turns, n, ok)
	}
	d.leave(h)
	soon(t, "the flag at the end", func() bool { return d.get() == 1 })
}

// A child of which nothing can be learned is looked at now and then, for as long as
// it lives, and one on its way to its exec soon enough.
func TestDumpableLooks(t *testing.T) {
	looks := func(in time.Duration) (n int) {
		for at, pause := time.Duration(0), 20*time.Microsecond; at < in; at, pause = at+pause, longer(pause) {
			n++
		}
		return n
	}
	if n := looks(10 * time.Millisecond); n < 5 {
		t.Errorf("%d looks in 10 ms", n)
	}
	if n := looks(time.Hour); n > 2*3600 {
		t.Errorf("%d looks in an hour", n)
	}
}

// settled is the flag when no start of before has it off.
func settled(t *testing.T) int {
	t.Helper()
	soon(t, "the end of earlier starts", func() bool {
		dumpable.mu.Lock()
		defer dumpable.mu.Unlock()
		return dumpable.off == 0 && !dumpable.pending
	})
	return dumpable.get()
}

// asOther makes this thread's effective user another for the test's time.
func asOther(t *testing.T) {
	t.Helper()
	was := settled(t) // the kernel turns it off now
	if err := syscall.Seteuid(1000); err != nil {
		t.Skip("not allowed to become another: ", err)
	}
	dumpable.set(1)
	t.Cleanup(func() {
		if err := syscall.Seteuid(0); err != nil {
			t.Fatal(err)
		}
		dumpable.set(was)
	})
}

// hasten has the flag come back soon, if it can.
func (d *dumpableFlag) hasten() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pending {
		d.timer.Reset(0)
	}
}
