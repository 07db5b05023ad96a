package vspawn

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Run starts a child and waits for its end, for those who need no [Process]
// meanwhile: it is the fastest way, and leaves nothing to be closed. How the child has
// ended is in its State, as for [Process.Wait]; an exit status is no error.
//
// When ctx ends first the child is killed, as by [Process.Kill], and Run returns its
// state with the cause of ctx, once it is dead: one in an uninterruptible sleep takes as
// long as that does. What it has started itself goes on, without Cgroup or
// DieWithParent of its own: see [Process.KillTree]. There is no state of a child whose end another
// process has to itself, which traces it; nor of one that may not be killed, since
// it has become another user, and goes on: the error says so. Either is reaped when that is
// possible.
func (p *Plan) Run(ctx context.Context) (*State, error) {
	c, err := p.Start(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.Wait(ctx)
	switch {
	case err == nil:
		return s, nil
	case ctx.Err() != nil:
		return c.stop(context.Cause(ctx), c.waitEnd)
	case errors.Is(err, unix.ECHILD):
		c.Close()
		return nil, err
	}
	return c.waitByWaitid(ctx) // for want of a descriptor, say
}

// waitByWaitid waits in a thread, which takes nothing else.
func (p *Process) waitByWaitid(ctx context.Context) (*State, error) {
	ended := make(chan error, 1)
	go func() { ended <- p.waitEnd() }()
	select {
	case err := <-ended:
		return p.reapBehind(func() error { return err })
	case <-ctx.Done():
		return p.stop(context.Cause(ctx), func() error { return <-ended })
	}
}

// waitEnd waits for the end, in this thread if it can't be had otherwise.
func (p *Process) waitEnd() error {
	if p.WaitExit(context.Background()) == nil {
		return nil
	}
	for {
		var s State
		if err := p.waitid(unix.WEXITED|unix.WNOWAIT, &s); err != nil || !s.Stopped() {
			return err
		}
		time.Sleep(10 * time.Millisecond) // its tracer is ours, and has not taken the stop yet
	}
}

// stop kills a child, for the sake of cause, and reaps it when end, which waits for that, has
// returned.
func (p *Process) stop(cause error, end func() error) (*State, error) {
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		go p.reapBehind(end)
		return nil, errors.Join(cause, err)
	}
	s, err := p.reapBehind(end)
	switch {
	case err != nil:
		return nil, errors.Join(cause, err)
	case s != nil && (!s.Signaled() || s.Signal() != unix.SIGKILL): // it was faster
		return s, nil
	}
	return s, cause
}

// reapBehind reaps a child when end has returned. There is no state if another process traces
// it: then that is done when it can be.
func (p *Process) reapBehind(end func() error) (*State, error) {
	if err := end(); err != nil {
		p.Close()
		return nil, err
	}
	s, err := p.reap()
	switch {
	case err != nil:
		p.Close()
	case s == nil:
		go func() {
			p.Wait(context.Background())
			p.Close() // if there was no state
		}()
	}
	return s, err
}
