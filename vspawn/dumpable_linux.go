package vspawn

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// dumpable owns the dumpable flag of our memory (PR_SET_DUMPABLE): nothing else
// here changes it. Children of two kinds need it off.
//
// A child that changes its credentials can be traced by its new user, and so,
// while it shares our memory, could we: that the flag forbids. The kernel turns
// it off when credentials change, but not when capabilities are given up or a
// user namespace is entered. It goes back when such a child is seen to have
// other memory, which is later than vfork lets the parent go on.
//
// Before Linux 5.16 a child that dies by a signal that dumps core takes along
// all who share its memory, unless that is not dumpable: fs/coredump.c looks at
// the flag before it kills anyone. There the flag is off as long as any child
// is under way.
var dumpable = dumpableFlag{patience: 2 * time.Second}

type dumpableFlag struct {
	mu      sync.Mutex
	off     int    // children that need it off
	foreign int    // those of them that others may look at, were it on
	was     int    // before the first of them
	ids     [2]int // effective ones, at that time
	turns   int    // how often the last of the foreign ones has left
	pending bool   // it comes back when os/exec's children let it

	wanted   atomic.Int32  // starts under way that can't go on while it is off
	patience time.Duration // with a child that may never have memory of its own

	// For looks at the children, while it is pending.
	timer  *time.Timer
	pause  time.Duration
	seen   lingering
	finder childFinder // under forking.mu
}

// A hold is what a child takes of the flag. The zero value is nothing.
type hold struct {
	off     bool // the flag
	foreign bool // the child may be looked at by others than we
	becomes bool // and else it is to become so
	lends   bool // it began with the flag on
	all     bool // so has every child it off, for the sake of core dumps

	refused error // it is not known, or can't be turned off: there must be no child
}

// enter begins a start.
func (d *dumpableFlag) enter(p *Plan, f *FeatureSet) hold {
	if !p.undumpable(f) {
		return hold{}
	}
	h := hold{off: true, becomes: p.credentials, all: !f.LoneCoreDump}
	// Who owns a user namespace may trace all in it, whatever they may do.
	born := p.newUser && privileged()
	h.foreign = born || p.credentials && p.maps == nil
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off == 0 && !d.pending {
		was, err := d.read()
		if err != nil {
			return hold{refused: &Error{Step: "prctl", Object: "PR_GET_DUMPABLE", Err: err}}
		}
		d.was, d.ids = was, effectiveIDs()
	}
	d.off++
	// One with id maps has it when they are written.
	h.lends = p.writesOwnProc && p.maps == nil && !born && d.mayLend()
	switch {
	case h.lends:
		d.set(1) // until the child has written, and turns it off itself
	case d.pending && !p.credentials: // off it is
	case d.was == 1 || !f.LoneCoreDump: // 2 is as good as 0, but for core dumps
		if err := d.set(0); err != nil {
			d.off--
			return hold{refused: &Error{Step: "prctl", Object: "PR_SET_DUMPABLE 0", Err: err}}
		}
	}
	if h.foreign {
		d.foreign++
	}
	return h
}

// giveWay holds a start back for a moment, for those that wait for the flag: they
// would never find it on.
func (d *dumpableFlag) giveWay(ctx context.Context, p *Plan, f *FeatureSet) {
	if p.writesOwnProc || !p.undumpable(f) {
		return
	}
	for tries := 0; d.wanted.Load() > 0 && tries < 1000; tries++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// mayLend tells whether the flag can be on for a moment, for a file below /proc that
// is root's else. A flag of 2 can't be asked for, and makes it root's anyway.
func (d *dumpableFlag) mayLend() bool {
	return d.foreign == 0 && !d.pending && d.was == 1 && !rootFilesAreOurs()
}

// lend turns the flag on for a child that has its id maps and is to write its own
// file below /proc next. It turns it off itself.
func (d *dumpableFlag) lend(h *hold) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h.off && d.mayLend() {
		d.set(1)
		h.lends = true
	}
}

// turn tells how often the flag has come back, for one who waits for it; false
// is that it can't.
func (d *dumpableFlag) turn() (n int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.was
	if d.off == 0 && !d.pending {
		was = d.get()
	}
	return d.turns, was == 1 && !rootFilesAreOurs()
}

// change says that a child which has waited for its id maps goes on, to change
// its credentials.
func (d *dumpableFlag) change(h *hold) {
	if !h.becomes || h.foreign {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h.foreign = true
	d.foreign++
}

// leave ends a start whose child has other memory, or none.
func (d *dumpableFlag) leave(h hold) {
	if !h.off {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if h.foreign {
		if d.foreign--; d.foreign == 0 {
			d.turns++
		}
	}
	switch d.off--; {
	case d.off == 0 && d.pending && !h.all:
	case d.off == 0 && d.was == 1 && (d.pending || privileged()):
		pause := soonBack
		if h.all {
			pause = laterBack
		}
		d.restoreBeside(pause)
	case d.off == 0:
		d.restore()
	case h.lends:
		d.set(0) // a start that failed may have left it on
	}
}

// restore makes the flag what it was. A change of our own effective ids has
// turned it off meanwhile, and off it stays. 2, "readable by root only", can't
// be asked for: it comes from fs.suid_dumpable, and then a change of credentials
// leaves it as it is.
func (d *dumpableFlag) restore() {
	now := d.get()
	switch {
	case now == d.was || d.was == 1 && effectiveIDs() != d.ids:
	case d.was == 2 && now != 0:
		d.set(0)
	case d.was != 2:
		d.set(d.was)
	}
}

// leaveBehind ends a start whose child may share our memory still: vfork lets
// the parent go on before the child has its own.
func (d *dumpableFlag) leaveBehind(h hold, pid int) *sharer {
	if !h.off || !h.becomes || execdByGroup(pid) {
		d.leave(h)
		return nil
	}
	s := &sharer{hold: h}
	go func() {
		for pause := 20 * time.Microsecond; !s.gone.Load() && !switched(pid); pause = longer(pause) {
			time.Sleep(pause)
		}
		s.leave()
	}()
	return s
}

// longer is the pause before the next look at a child. It grows with the time that
// the child has taken: where nothing can be learned of one (switched), that is its
// whole life.
func longer(pause time.Duration) time.Duration { return min(2*pause, time.Second) }

// A sharer is a child that has let the parent go on, and may share our memory
// still.
type sharer struct {
	hold hold
	gone atomic.Bool
}

// leave is called by whoever is first to see that the child has other memory, or
// none. nil is a child of which that is known.
func (s *sharer) leave() {
	if s != nil && s.gone.CompareAndSwap(false, true) {
		dumpable.leave(s.hold)
	}
}

// own runs open, which opens a file of a child's below /proc. While the flag is
// off these are root's; so it is on for that moment, unless a child may be
// another's. If a child's step turns it off just then, it tries again. others
// tells whether an error may be for the sake of others than h.
func (d *dumpableFlag) own(h *hold, open func() error) (others bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off == 0 || !d.mayLend() {
		others = d.foreign > 1 || d.foreign == 1 && !h.foreign
		if err = open(); d.off > 0 && errors.Is(err, unix.EACCES) && asRoot(func() { err = open() }) {
			d.set(0) // fs.suid_dumpable may have left it 2
		}
		return others && d.was == 1, err
	}
	defer d.set(0)
	for tries := 0; tries == 0 || errors.Is(err, unix.EACCES) && tries < 1000; tries++ {
		d.set(1)
		err = open()
	}
	return false, err
}

func (d *dumpableFlag) read() (int, error) {
	return unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
}

// get is read where a start has read it already.
func (d *dumpableFlag) get() int {
	v, _ := d.read()
	return v
}

func (d *dumpableFlag) set(v int) error { return unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(v), 0, 0, 0) }

func rootFilesAreOurs() bool { return os.Geteuid() == 0 }

func effectiveIDs() [2]int { return [2]int{os.Geteuid(), os.Getegid()} }

// privileged tells whether we have capabilities: this thread, or the main thread, of
// which one that has given up its own shares the memory. If that can't be learned we
// have.
func privileged() bool {
	for _, thread := range []int{0, os.Getpid()} {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: int32(thread)}
		var data [2]unix.CapUserData
		if unix.Capget(&header, &data[0]) != nil || data[0].Permitted|data[1].Permitted != 0 {
			return true
		}
	}
	return false
}

// undumpable tells whether our memory must not be dumpable while a child of the
// plan is under way.
func (p *Plan) undumpable(f *FeatureSet) bool {
	return f.SharedMemory && (p.credentials || !f.LoneCoreDump)
}
