package vspawn

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// dumpable owns the dumpable flag of our memory (PR_SET_DUMPABLE): nothing else
// here changes it. Two kinds of starts concern it.
//
// A child that changes its credentials loses the flag, and since it shares our
// memory, so do we. The flag is put back when no such child is under way any
// more: earlier, the new user could trace a child that still shares our memory.
//
// Before Linux 5.16 a child that dies by a signal that dumps core takes along
// all who share its memory, unless that is not dumpable: fs/coredump.c looks at
// the flag before it kills anyone. There the flag is off as long as any child
// is under way.
var dumpable dumpableFlag

type dumpableFlag struct {
	mu      sync.Mutex
	users   int // starts under way of either kind
	changed int // those whose child may have changed its credentials
	off     int // those that need the flag off
	was     int // before the first of them

	wanted atomic.Int32 // starts under way that can't go on while it is off
}

// enter begins a start.
func (d *dumpableFlag) enter(p *Plan, f *FeatureSet) {
	off := p.undumpable(f)
	if !off && !p.credentials {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users++; d.users == 1 {
		d.was = d.get()
	}
	if off {
		d.off++
		// One with id maps has it when they are written.
		if p.writesOwnProc && p.maps == nil && d.mayLend() {
			d.set(1) // until the child has written, and turns it off itself
		} else {
			d.set(0)
		}
	}
	if p.credentials && p.maps == nil {
		d.changed++
	}
}

// giveWay holds a start back for a moment, for those that wait for the flag: they
// would never find it on.
func (d *dumpableFlag) giveWay(ctx context.Context, p *Plan, f *FeatureSet) {
	if p.writesOwnProc || !p.undumpable(f) {
		return
	}
	for tries := 0; d.wanted.Load() > 0 && tries < 100; tries++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// mayLend tells whether the flag can be on for a moment, for a file below /proc that
// is root's else. A flag of 2 can't be asked for, and makes it root's anyway.
func (d *dumpableFlag) mayLend() bool { return d.changed == 0 && d.was == 1 && !rootFilesAreOurs() }

// lend turns the flag on for a child that has its id maps and is to write its own
// file below /proc next. It turns it off itself.
func (d *dumpableFlag) lend(p *Plan) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.writesOwnProc && d.off > 0 && d.mayLend() {
		d.set(1)
	}
}

// lent tells whether the flag was one that can be lent.
func (d *dumpableFlag) lent() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.was == 1
}

// change says that a child which has waited for its id maps goes on, to change
// its credentials.
func (d *dumpableFlag) change() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed++
}

// leave ends a start; change tells whether that was called for it. The child
// has other memory by then, or none.
func (d *dumpableFlag) leave(p *Plan, f *FeatureSet, change bool) {
	off := p.undumpable(f)
	if !off && !p.credentials {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if off {
		d.off--
	}
	if change || p.credentials && p.maps == nil {
		d.changed--
	}
	// 2, "readable by root only", can't be asked for: it comes from
	// fs.suid_dumpable, and then a change of credentials leaves it as it is.
	// Where we have turned it off, off it stays.
	switch d.users--; {
	case d.users > 0 && d.off > 0 && p.writesOwnProc:
		d.set(0) // a start that failed may have left it on
	case d.users == 0 && d.get() != d.was:
		d.set(d.was)
	}
}

// own runs open, which opens a file of a child's below /proc. While the flag is
// off these are root's; so it is on for that moment, unless another child may
// have another user's credentials already. If a child's step turns it off just
// then, it tries again.
func (d *dumpableFlag) own(open func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off == 0 || !d.mayLend() {
		return open()
	}
	defer d.set(0)
	var err error
	for tries := 0; tries == 0 || errors.Is(err, unix.EACCES) && tries < 10; tries++ {
		d.set(1)
		err = open()
	}
	return err
}

// shared tells whether the flag concerns other starts than one.
func (d *dumpableFlag) shared() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.users > 1
}

func (d *dumpableFlag) get() int {
	v, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	return v
}

func (d *dumpableFlag) set(v int) { unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(v), 0, 0, 0) }

func rootFilesAreOurs() bool { return os.Geteuid() == 0 }

// undumpable tells whether our memory must not be dumpable while a child of the
// plan is under way.
func (p *Plan) undumpable(f *FeatureSet) bool { return f.SharedMemory && !f.LoneCoreDump }

// undump is the child's step that turns the flag off.
var undump = op{name: "prctl", nr: unix.SYS_PRCTL, flags: asm.Tolerate,
	args: []arg{name("PR_SET_DUMPABLE", unix.PR_SET_DUMPABLE), dec(0)}}

// redumps tells whether the flag may be on behind o: the kernel sets it to
// fs.suid_dumpable when credentials change, which need not be 0, and enter may
// have left it on for the sake of a file below /proc/self.
func (o *op) redumps() bool {
	switch o.nr {
	case unix.SYS_SETUID, unix.SYS_SETREUID, unix.SYS_SETFSUID, sysSetresuid,
		unix.SYS_SETGID, unix.SYS_SETREGID, unix.SYS_SETFSGID, sysSetresgid,
		unix.SYS_CAPSET, unix.SYS_SETNS, unix.SYS_UNSHARE:
		return true
	}
	return o.field == "OOMScoreAdj" && o.name == "write"
}
