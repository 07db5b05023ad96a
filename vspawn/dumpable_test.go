//go:build linux

package vspawn

import (
	"syscall"
	"testing"
)

// The flag comes back when the last of several starts that concern it is over,
// and not before.
func TestDumpableNests(t *testing.T) {
	was := dumpable.get()
	credentials, plain := &Plan{compiled: &compiled{credentials: true}}, &Plan{compiled: &compiled{}}
	for _, f := range []*FeatureSet{full, {SharedMemory: true}} {
		d := new(dumpableFlag)
		off := 0
		if f.LoneCoreDump {
			off = was
		}
		for _, p := range []*Plan{credentials, plain} {
			d.enter(p, f)
			if got := d.get(); got != off {
				t.Errorf("%+v: flag is %d, want %d", f, got, off)
			}
			d.set(0) // as by a child's new credentials
			d.enter(credentials, f)
			d.leave(credentials, f, false)
			if d.get() != 0 {
				t.Errorf("%+v: restored while a child is under way", f)
			}
			d.leave(p, f, false)
			want := was
			if p == plain && f.LoneCoreDump {
				want = 0 // that start did not concern it, and the other began with 0
			}
			if got := d.get(); got != want {
				t.Errorf("%+v: flag is %d, was %d", f, got, was)
			}
			d.set(was)
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
	during := func() (flag int) {
		d.own(func() error { flag = d.get(); return nil })
		return flag
	}
	check := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: flag is %d, want %d", what, got, want)
		}
	}
	d.enter(plain, f)
	check("for one", during(), 1)
	check("after it", d.get(), 0)
	d.enter(waiting, f)
	check("beside one that waits for its maps", during(), 1)
	d.change()
	check("when that goes on", during(), 0)
	d.enter(credentials, f)
	d.leave(waiting, f, true)
	check("beside other credentials", during(), 0)
	d.leave(credentials, f, false)
	check("and after them", during(), 1)
	d.leave(plain, f, false)
	check("at the end", d.get(), 1)
}

// asOther makes this thread's effective user another for the test's time.
func asOther(t *testing.T) {
	if err := syscall.Seteuid(1000); err != nil {
		t.Skip("not allowed to become another: ", err)
	}
	was := dumpable.get()
	dumpable.set(1)
	t.Cleanup(func() {
		if err := syscall.Seteuid(0); err != nil {
			t.Fatal(err)
		}
		dumpable.set(was)
	})
}
