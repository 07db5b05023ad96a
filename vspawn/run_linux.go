package vspawn

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Run starts a child and waits for its end, for those who need no [Process]
// meanwhile: it is the fastest way, and leaves nothing to be closed. How the child has
// ended is in its State, as for [Process.Wait]; an exit status is no error.
//
// When ctx ends first the child is killed, as by [Process.Kill], and Run returns its
// state with the cause of ctx, once it is dead: one in an uninterruptible sleep takes as
// long as that does. What it has started itself goes on, without Cgroup or
// DieWithParent of its own: see [Process.KillTree]. A child that may not be killed, since
// it has become another user, goes on as well: then there is no state, the error says
// why, and it is reaped when it ends.
func (p *Plan) Run(ctx context.Context) (*State, error) {
	c, err := p.Start(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.Wait(ctx)
	if err == nil {
		return s, nil
	}
	if ctx.Err() == nil { // the wait itself has failed
		c.Close()
		return nil, err
	}
	return c.stop(err)
}

// stop kills a child, for the sake of cause, and reaps it.
func (p *Process) stop(cause error) (*State, error) {
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		go func() {
			p.Wait(context.Background())
			p.Close() // if there was no state
		}()
		return nil, errors.Join(cause, err)
	}
	s, err := p.Wait(context.Background())
	switch {
	case err != nil:
		p.Close()
		return nil, errors.Join(cause, err)
	case !s.Signaled() || s.Signal() != unix.SIGKILL: // it was faster
		return s, nil
	}
	return s, cause
}
