//go:build linux

package vspawn

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// The flag does not come back while a child of os/exec's may share our memory:
// neither while os/exec waits for one, nor when that has let its parent go on. It
// comes as soon as there is none, and beside our own starts at once.
func TestDumpableBesideForkExec(t *testing.T) {
	was := settled(t)
	if was != 1 {
		t.Skip("this process is not dumpable")
	}
	if !privileged() {
		t.Skip("without privileges os/exec's children are no one else's")
	}
	credentials := &Plan{compiled: &compiled{credentials: true}}
	d := &dumpableFlag{patience: 24 * time.Hour}
	start := func() { d.leave(d.enter(credentials, full)) }
	check := func(what string, want int) {
		t.Helper()
		if got := d.get(); got != want {
			t.Errorf("%s: flag is %d, want %d", what, got, want)
		}
	}
	back := func() bool { return d.get() == was }

	// stays tells whether the flag is off as long as it is looked for.
	stays := func(what string) {
		t.Helper()
		for range 5 { // as often as is looked whether it may come back
			if d.restoreAlone(make(lingering)) {
				t.Errorf("%s: it is over", what)
			}
			check(what, 0)
		}
	}

	syscall.ForkLock.Lock()
	start()
	stays("while os/exec holds the lock")
	start()
	stays("after another start")
	syscall.ForkLock.Unlock()
	soon(t, "the flag, when os/exec has let go", back)

	forking.mu.Lock()
	forking.held = true
	forking.mu.Unlock()
	start()
	soon(t, "the flag, while we hold the lock", back)
	forking.mu.Lock()
	forking.held = false
	forking.mu.Unlock()

	syscall.ForkLock.Lock()
	start()
	forking.mu.Lock() // as one who looks after it
	syscall.ForkLock.Unlock()
	stays("while another has our own")
	forking.mu.Unlock()
	soon(t, "the flag, when the other has gone", back)

	helper.SkipEmulated(t, "memory that a child of vfork shares")
	haveLoneCoreDump(t) // so that no other flag than d has ours off
	looked := 0
	p, err := startHeld(tiny.Exit(t, 0), Attr{}, func(int) { // any that d does not know
		looked++
		dumpable.set(was) // before Linux 5.16 its own start has it off
		start()
		stays("while a child shares our memory")
	})
	if err != nil {
		t.Fatal(err)
	}
	if looked != 1 {
		t.Errorf("looked at %d children", looked)
	}
	soon(t, "the flag, when the child has its own memory", back)
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// haveLoneCoreDump has the library believe, for the length of the test, that the kernel
// has LoneCoreDump.
func haveLoneCoreDump(t *testing.T) {
	t.Helper()
	found, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	as := *found
	as.LoneCoreDump = true
	features.found.Store(&as)
	t.Cleanup(func() { features.found.Store(found) })
}

// SetDumpable lets nobody at the memory that a child of os/exec's shares.
func TestSetDumpableBesideForkExec(t *testing.T) {
	helper.SkipEmulated(t, "memory that a child of vfork shares")
	if !privileged() {
		t.Skip("without privileges os/exec's children are no one else's")
	}
	was := settled(t)
	defer dumpable.set(was)
	bear := func(d time.Duration) time.Duration {
		forking.mu.Lock()
		defer forking.mu.Unlock()
		before := dumpable.patience
		dumpable.patience = d
		return before
	}
	defer bear(bear(24 * time.Hour))
	looked := 0
	p, err := startHeld(tiny.Exit(t, 0), Attr{}, func(int) { // as if it were os/exec's
		looked++
		for _, flag := range []int{0, 1} {
			if err := SetDumpable(flag); err != nil {
				t.Error(err)
			}
			if got := dumpable.get(); got != 0 {
				t.Errorf("set to %d beside the child: flag is %d", flag, got)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if looked != 1 {
		t.Errorf("looked at %d children", looked)
	}
	soon(t, "the flag, when the child has its own memory", func() bool { return dumpable.get() == 1 })
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A child that has just let its parent go on is waited for, however long os/exec
// was at work before. One that has been there for too long is not.
func TestDumpableLingering(t *testing.T) {
	helper.SkipEmulated(t, "memory that a child of vfork shares")
	const patience = 24 * time.Hour
	l := lingering{}
	age := func() {
		for pid := range l {
			l[pid] = l[pid].Add(-2 * patience)
		}
	}
	d := &dumpableFlag{patience: patience}
	forking.mu.Lock() // as one who looks after it
	if d.restoreAlone(l) {
		t.Error("it is over while another has the lock")
	}
	forking.mu.Unlock()
	age()
	looked := 0
	p, err := startHeld(tiny.Exit(t, 0), Attr{}, func(pid int) {
		if looked++; l.look(&d.finder, patience) {
			t.Error("a child that is new has no say")
		}
		if age(); !l.look(&d.finder, patience) {
			t.Error("a child that is old has")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if looked != 1 {
		t.Errorf("looked at %d children", looked)
	}
	soon(t, "nothing left of the child", func() bool { return l.look(&d.finder, patience) && len(l) == 0 })
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Any number of starts and forks leave the flag as it was.
func TestDumpableAmongForks(t *testing.T) {
	was := settled(t)
	credentials := &Plan{compiled: &compiled{credentials: true}}
	d := new(dumpableFlag)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range helper.Rounds(200) {
				d.leave(d.enter(credentials, full))
			}
		})
		all.Go(func() {
			for range helper.Rounds(200) {
				syscall.ForkLock.Lock()
				syscall.ForkLock.Unlock() //lint:ignore SA2001 that is all
				in := new(instance)
				if err := forking.enter(t.Context(), in); err != nil {
					t.Error(err)
				}
				forking.leave(in)
			}
		})
	}
	all.Wait()
	soon(t, "the flag", func() bool { return d.get() == was })
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off != 0 || d.foreign != 0 {
		t.Errorf("%d starts are left, %d of them others'", d.off, d.foreign)
	}
}

// However long os/exec has waited for a child, that has all the time it needs when
// os/exec lets go of it.
func TestDumpableLongFork(t *testing.T) {
	helper.SkipEmulated(t, "memory that a child of vfork shares")
	was := settled(t)
	if was != 1 || !privileged() {
		t.Skip("the flag does not come back here, or with no regard to others")
	}
	d := &dumpableFlag{patience: 2 * time.Second}
	p, err := startHeld(tiny.Exit(t, 0), Attr{}, func(int) { // as if os/exec's
		syscall.ForkLock.Lock()
		dumpable.set(was) // before Linux 5.16 its own start has it off
		d.leave(d.enter(&Plan{compiled: &compiled{credentials: true}}, full))
		time.Sleep(2500 * time.Millisecond)
		let := time.Now()
		syscall.ForkLock.Unlock()
		time.Sleep(300 * time.Millisecond)
		if got := d.get(); got != 0 && time.Since(let) < time.Second {
			t.Errorf("flag is %d while a child shares our memory", got)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "the flag", func() bool { return d.get() == was })
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Nor does it if os/exec has begun its child while ours was under way, and has let go
// of it just now. Before Linux 5.16 ours may be any.
func TestDumpableForkExecBetween(t *testing.T) {
	helper.SkipEmulated(t, "memory that a child of vfork shares")
	was := settled(t)
	if was != 1 || !privileged() {
		t.Skip("the flag does not come back here, or with no regard to others")
	}
	haveLoneCoreDump(t) // so that no other flag than d has ours off
	d := &dumpableFlag{patience: 24 * time.Hour}
	h := d.enter(&Plan{compiled: &compiled{}}, &FeatureSet{SharedMemory: true})
	p, err := startHeld(tiny.Exit(t, 0), Attr{}, func(int) { // as if os/exec's
		d.leave(h)
		if got := d.get(); got != 0 {
			t.Errorf("flag is %d while a child shares our memory", got)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "the flag", func() bool { return d.get() == was })
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}
