package vspawn

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// underWay counts the starts that are.
var underWay atomic.Int64

// passing tells whether the error may be over in a moment. A program may be
// busy; and where a start turns the dumpable flag off, another's child that is
// not root's can't write its own file below /proc meanwhile.
func (p *Plan) passing(err error, f *FeatureSet) bool {
	if p.writesOwnProc {
		var e *Error
		if errors.As(err, &e) && e.Field == "OOMScoreAdj" && e.Step == "openat" && e.Err == unix.EACCES {
			_, ok := dumpable.turn()
			return ok
		}
	}
	return busy(err)
}

// busy tells whether the program was being written to.
func busy(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Err == unix.ETXTBSY && strings.HasPrefix(e.Step, "execve")
}

// For how long a start is tried again: in any case, and while there may be
// someone who lets go of the program.
const (
	againShort = 50 * time.Millisecond
	againLong  = time.Second
)

// A startFunc starts a plan's child once.
type startFunc func(context.Context, *FeatureSet) (*Process, error)

// startAgain tries again when an error is passing. A program was being written
// to: most often the writer has closed it already, and only a child on its way
// to its own exec still has a copy of the descriptor (golang/go#22315): one of
// ours, or one of syscall.ForkExec's, which holds ForkLock meanwhile. An error
// that stays is returned within a second. A child that could not write its own
// file below /proc, as its parent's are root's beside others with other credentials,
// is tried as long as those leave now and then. What is done once for all, though the
// child has failed, is not done again.
func (p *Plan) startAgain(ctx context.Context, f *FeatureSet, start startFunc, err error) (*Process, error) {
	if !p.passing(err, f) || p.leaves(err) {
		return nil, err
	}
	var proc *Process
	if !busy(err) {
		dumpable.wanted.Add(1)
		defer dumpable.wanted.Add(-1)
	}
	began, long := time.Now(), againLong
	turns, _ := dumpable.turn()
	if !busy(err) {
		long = turnTime
	}
	for pause := 50 * time.Microsecond; p.passing(err, f) && !p.leaves(err); pause = min(2*pause, 10*time.Millisecond) {
		if n, _ := dumpable.turn(); n != turns && !busy(err) {
			turns, began = n, time.Now() // it comes back now and then
		}
		took := time.Since(began)
		if took > long || took > againShort && busy(err) && !p.letGo() {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, cancelled(ctx, err)
		}
		again := err
		if proc, err = start(ctx, f); errors.Is(err, unix.ENOMEM) && bornApart() {
			return nil, again // the child was its PID namespace's first, and that is over
		}
	}
	if ctx.Err() != nil && p.passing(err, f) {
		return nil, cancelled(ctx, err)
	}
	return proc, err
}

// letGo tells whether someone may still let go of the program: a child that is
// under way, or one that has let its parent go on but has not yet closed its
// files, from which a busy machine may keep it for a while.
func (p *Plan) letGo() bool {
	if underWay.Load() > 0 {
		return true
	}
	if !syscall.ForkLock.TryRLock() {
		return true // a ForkExec is under way
	}
	syscall.ForkLock.RUnlock()
	return heldByChild(p.path())
}

// cancelled is the error of a start that was given up after it had failed with
// err.
func cancelled(ctx context.Context, err error) error {
	c := &Error{Step: "start", Err: context.Cause(ctx)}
	var e *Error
	if errors.As(err, &e) {
		c.Step, c.Field, c.Object = e.Step, e.Field, e.Object
	}
	return c
}

// leaves tells whether a child that has failed with err may have done what stays
// when it is gone, or can't be done twice.
func (p *Plan) leaves(err error) bool {
	elsewhere := p.cloneFlags&unix.CLONE_NEWNS != 0 // it has mounts of its own
	moved := elsewhere                              // or another root or directory
	for i := range p.ops {
		o := &p.ops[i]
		switch {
		case o.field == "OOMScoreAdj" && !busy(err):
			return false // it came no further
		case strings.HasPrefix(o.field, "Syscalls["), o.field == "ControllingTTY": // a leader's end hangs the terminal up
			return true
		case o.call == sysUnshare:
			elsewhere = elsewhere || o.args[0].val&unix.CLONE_NEWNS != 0
			moved = true
		case o.call == sysMount && strings.HasPrefix(o.field, "Mounts") && !elsewhere, o.call == sysPivotRoot && !elsewhere:
			return true
		case o.call == sysSetns:
			flags := o.args[1].val
			elsewhere = elsewhere && flags != 0 && flags&unix.CLONE_NEWNS == 0
			moved = true
		case o.call == sysChroot, o.call == sysChdir, o.call == sysFchdir:
			moved = true
		case o.call == sysOpenat && strings.HasPrefix(o.field, "Files[") && opened(o, moved):
			return true
		}
	}
	return false
}

// opened tells whether it may be noticed that o has opened a file: that of a
// FIFO is, for one. moved says that it may not be the file which we find.
func opened(o *op, moved bool) bool {
	path, _ := o.object.(string)
	if o.args[2].val&(unix.O_CREAT|unix.O_EXCL|unix.O_TRUNC) != 0 {
		return true
	}
	var st unix.Stat_t
	if moved || unix.Stat(path, &st) != nil {
		return true
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		return false
	case unix.S_IFCHR:
		return uint64(st.Rdev) != unix.Mkdev(1, 3) // /dev/null
	}
	return true
}
