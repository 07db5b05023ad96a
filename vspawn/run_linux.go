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
		return c.stop(context.Cause(ctx))
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
	var cause, err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		cause = context.Cause(ctx)
		if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			go p.reapBehind(ended)
			return nil, errors.Join(cause, err)
		}
		err = <-ended
	}
	if err != nil {
		p.Close()
		return nil, errors.Join(cause, err)
	}
	s, err := p.reapOrLeave()
	if cause != nil && (s == nil || s.Signaled() && s.Signal() == unix.SIGKILL) {
		err = errors.Join(cause, err)
	}
	return s, err
}

// reapBehind reaps a child that goes on, when it has ended.
func (p *Process) reapBehind(ended <-chan error) {
	<-ended
	p.reapOrLeave()
}

// waitEnd waits for the end.
func (p *Process) waitEnd() error {
	for {
		var s State
		if err := p.waitid(unix.WEXITED|unix.WNOWAIT, &s); err != nil || !s.Stopped() {
			return err
		}
		time.Sleep(10 * time.Millisecond) // its tracer is ours, and has not taken the stop yet
	}
}

// stop kills a child, for the sake of cause, and reaps it.
func (p *Process) stop(cause error) (*State, error) {
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		go p.reapSometime()
		return nil, errors.Join(cause, err)
	}
	if err := p.WaitExit(context.Background()); err != nil && p.waitEnd() != nil {
		p.Close()
		return nil, errors.Join(cause, err)
	}
	s, err := p.reapOrLeave()
	switch {
	case err != nil:
		return nil, errors.Join(cause, err)
	case s != nil && (!s.Signaled() || s.Signal() != unix.SIGKILL): // it was faster
		return s, nil
	}
	return s, cause
}

// reapOrLeave reaps a child that is dead. There is no state yet if another process traces it.
func (p *Process) reapOrLeave() (*State, error) {
	s, err := p.reap()
	if s == nil && err == nil {
		go p.reapSometime()
	}
	if err != nil {
		p.Close()
	}
	return s, err
}

// reapSometime reaps a child when it ends.
func (p *Process) reapSometime() {
	p.Wait(context.Background())
	p.Close() // if there was no state
}
