package vspawn

import (
	"slices"
	"syscall"
	"time"
)

// A child of os/exec's shares our memory too, and with a Credential it becomes
// another user's. The kernel turns the dumpable flag off then, and os/exec never
// on again. So we turn it on only while no such child is on its way. Without
// privileges we have none: in a new user namespace os/exec's have a copy.
//
// That is so for a start, too, that needs the flag off for the sake of core dumps
// alone (before Linux 5.16, all do): os/exec may have begun one meanwhile, and let go
// of it.

// restoreBeside has the flag come back in a moment, when os/exec has no child on
// its way. To look for one costs more the more children there are, so that it is
// done once for many starts. The caller holds mu.
func (d *dumpableFlag) restoreBeside() {
	if d.pending {
		return
	}
	d.pending = true
	go func() {
		for l, pause := (lingering{}), time.Millisecond; ; {
			time.Sleep(pause)
			look := time.Now()
			if d.restoreAlone(l) {
				return
			}
			pause = max(min(2*pause, 10*time.Millisecond), 50*time.Since(look))
		}
	}()
}

// restoreAlone is restore, if no child of os/exec's is on its way. It tells whether
// that is over: if another start has begun, its end looks again. So it is if another
// look has brought the flag back.
func (d *dumpableFlag) restoreAlone(l lingering) (over bool) {
	idle := forking.idle(func() {
		alone := l.look(d.patience)
		d.mu.Lock()
		defer d.mu.Unlock()
		if over = d.off > 0 || alone || !d.pending; !over || !d.pending {
			return
		}
		if d.pending = false; d.off == 0 {
			d.restore()
		}
	})
	return idle && over
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

// lingering are children that had no memory of their own, by their pids, and when
// that was first seen: while nobody waited for one under ForkLock.
type lingering map[int]time.Time

// look tells whether all our children have memory of their own, as far as can be
// learned. One that has none for longer than patience was made by other means, and
// may never have.
func (l lingering) look(patience time.Duration) (all bool) {
	children, now := unswitched(), time.Now()
	for pid := range l {
		if !slices.Contains(children, pid) {
			delete(l, pid)
		}
	}
	all = true
	for _, pid := range children {
		since, seen := l[pid]
		if !seen {
			l[pid], since = now, now
		}
		all = all && now.Sub(since) > patience
	}
	return all
}

// unswitched are those of our children that have no memory of their own.
func unswitched() (pids []int) {
	var f childFinder
	for pid := range f.children {
		if !switched(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
