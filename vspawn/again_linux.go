package vspawn

import (
	"context"
	"errors"
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
	return errors.Is(err, unix.ETXTBSY)
}

// startAgain tries again when an error is passing. A program was being written
// to: most often the writer has closed it already, and only a child on its way
// to its own exec still has a copy of the descriptor (golang/go#22315): one of
// ours, or one of syscall.ForkExec's, which holds ForkLock meanwhile. An error
// that stays is returned within a second or two.
func (p *Plan) startAgain(ctx context.Context, f *FeatureSet, start func(context.Context, *FeatureSet) (*Process, error), err error) (*Process, error) {
	var proc *Process
	pause := 50 * time.Microsecond
	if !errors.Is(err, unix.ETXTBSY) && p.passing(err, f) {
		dumpable.wanted.Add(1)
		defer dumpable.wanted.Add(-1)
	}
	for tries := 0; p.passing(err, f) && pause < time.Second; tries++ {
		// A child that has let its parent go on may not have closed its files yet,
		// and on a busy machine be kept from it for a while.
		if tries >= 10 && underWay.Load() == 0 && errors.Is(err, unix.ETXTBSY) {
			break
		}
		if errors.Is(err, unix.ETXTBSY) {
			syscall.ForkLock.RLock()   // waits for a ForkExec under way
			syscall.ForkLock.RUnlock() //lint:ignore SA2001 that is all
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
		pause *= 2
		proc, err = start(ctx, f)
	}
	return proc, err
}
