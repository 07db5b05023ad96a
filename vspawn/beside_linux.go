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
// done once for many starts: before Linux 5.16, where all have the flag off, when
// there was none for a while. The caller holds mu.
func (d *dumpableFlag) restoreBeside(pause time.Duration) {
	d.pending, d.pause = true, pause
	if d.timer == nil {
		d.seen = lingering{}
		d.timer = time.AfterFunc(d.pause, d.lookBeside)
		return
	}
	d.timer.Reset(d.pause)
}

// How long it is until the flag is first tried to come back.
const (
	soonBack  = time.Millisecond
	laterBack = 100 * time.Millisecond
)

// lookBeside looks whether the flag may come back, and else again later.
func (d *dumpableFlag) lookBeside() {
	look := time.Now()
	if d.restoreAlone(d.seen) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pause = max(min(2*d.pause, 10*time.Millisecond), 50*time.Since(look))
	d.timer.Reset(d.pause)
}

// restoreAlone is restore, if no child of os/exec's is on its way. It tells whether
// that is over: if another start has begun, its end looks again. So it is if another
// look has brought the flag back.
func (d *dumpableFlag) restoreAlone(l lingering) (over bool) {
	idle, ours := forking.lockIdle()
	if !idle {
		return false
	}
	defer forking.unlockIdle(ours)
	alone := l.look(&d.finder, d.patience)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !d.pending:
		return true
	case d.off > 0:
		d.pending = false
		return true
	case alone:
		d.pending = false
		d.restore()
		return true
	}
	return false
}

// lockIdle has it that syscall.ForkExec waits for no child, and begins none before
// unlockIdle, which is given ours. It does not wait itself: that would hold up all that
// others fork. false is that there may be one.
func (l *forkLock) lockIdle() (idle, ours bool) {
	if !l.mu.TryLock() {
		return false, false
	}
	if l.held {
		return true, true
	}
	if !syscall.ForkLock.TryRLock() {
		l.mu.Unlock()
		return false, false
	}
	return true, false
}

func (l *forkLock) unlockIdle(ours bool) {
	if !ours {
		syscall.ForkLock.RUnlock()
	}
	l.mu.Unlock()
}

// lingering are children that had no memory of their own, by their pids, and when
// that was first seen: while nobody waited for one under ForkLock.
type lingering map[int]time.Time

// look tells whether all our children have memory of their own, as far as can be
// learned. One that has none for longer than patience was made by other means, and
// may never have.
func (l lingering) look(f *childFinder, patience time.Duration) (all bool) {
	children, now := f.unswitched(), time.Now()
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
func (f *childFinder) unswitched() (pids []int) {
	for pid := range f.children {
		if !switched(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
