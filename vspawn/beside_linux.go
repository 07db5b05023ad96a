package vspawn

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// A child of os/exec's shares our memory too, and with a Credential it becomes
// another user's. The kernel turns the dumpable flag off then, and os/exec never
// on again. So we turn it on only while no such child is on its way. Without
// privileges we have none: in a new user namespace os/exec's have a copy.
//
// For a start that needs the flag off for the sake of core dumps alone (before
// Linux 5.16, all do) it is asked at its beginning and its end whether os/exec waits
// for a child; for one that changes credentials its children are looked at always.

// restoreBeside has the flag come back in a moment, when os/exec has no child on
// its way. To look for one costs more the more children there are, so that it is
// done once for many starts. The caller holds mu.
func (d *dumpableFlag) restoreBeside() {
	if d.pending {
		return
	}
	d.pending = true
	go func() {
		// A child that has no program after so long was made by other means, and
		// may never have one.
		const patience = 2 * time.Second
		begin, pause := time.Now(), time.Millisecond
		for {
			time.Sleep(pause)
			look := time.Now()
			over, idle := d.restoreAlone(look.Sub(begin) > patience)
			if over {
				return
			}
			if !idle { // one that os/exec lets go of now may be as late as any
				begin = time.Now()
			}
			pause = max(min(2*pause, 10*time.Millisecond), 50*time.Since(look))
		}
	}()
}

// restoreAlone is restore, if no child of os/exec's is on its way; anyway does not
// look at those that have let their parent go on. It tells whether that is over: if
// another start has begun, its end looks again. idle is that os/exec waited for none.
func (d *dumpableFlag) restoreAlone(anyway bool) (over, idle bool) {
	idle = forking.idle(func() {
		alone := anyway || childrenSwitched()
		d.mu.Lock()
		defer d.mu.Unlock()
		if over = d.off > 0 || alone; over {
			d.pending = false
		}
		if over && d.off == 0 {
			d.restore()
		}
	})
	return idle && over, idle
}

// idle runs f if syscall.ForkExec waits for no child, and before the next one.
// It does not wait itself: that would hold up all that others fork. false is that
// there may be one.
func (l *forkLock) idle(f func()) bool {
	if !l.mu.TryLock() {
		return false
	}
	defer l.mu.Unlock()
	if !l.held { // else the lock is ours
		if !syscall.ForkLock.TryRLock() {
			return false
		}
		defer syscall.ForkLock.RUnlock()
	}
	f()
	return true
}

// busy tells whether syscall.ForkExec may wait for a child.
func (l *forkLock) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held { // by us
		return false
	}
	if !syscall.ForkLock.TryRLock() {
		return true
	}
	syscall.ForkLock.RUnlock()
	return false
}

// childrenSwitched tells whether all our children have memory of their own, as
// far as can be learned.
func childrenSwitched() bool {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, thread := range threads {
		children, _ := os.ReadFile("/proc/self/task/" + thread.Name() + "/children")
		for _, child := range bytes.Fields(children) {
			if pid, err := strconv.Atoi(string(child)); err == nil && !switched(pid) {
				return false
			}
		}
	}
	return true
}
