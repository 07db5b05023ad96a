package vspawn

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// WaitFor waits for the first of several changes of the child's state, for who stops
// and continues children; for the end alone [Process.Wait] is the better one. Each
// stop and each continuation is reported once. Of a child that has ended there is no
// other change to wait for, so its end is reported in any case; unless Exited is
// among the changes, it is not reaped. When ctx ends first, WaitFor returns its cause.
// A set of no changes, or of others, gives an [*AttrError].
//
// WaitFor is for one goroutine at a time; a pidfd does not tell of stops, so it
// wakes on every SIGCHLD.
func (p *Process) WaitFor(ctx context.Context, changes Change) (*State, error) {
	if changes&^allChanges != 0 || changes == 0 {
		return nil, refuse("changes", "%#x is not a set of Exited, Stopped and Continued", int(changes))
	}
	wake := make(chan os.Signal, 1)
	signal.Notify(wake, unix.SIGCHLD)
	defer signal.Stop(wake)
	var ended <-chan struct{}
	if p.autoreap { // no signal tells of its end
		var err error
		if ended, err = p.watch(); err != nil {
			return nil, err
		}
	}
	for {
		s, err := p.look(changes)
		if s != nil || err != nil {
			return s, err
		}
		select {
		case <-wake:
		case <-ended:
			ended = nil
		case <-p.isOver():
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// isOver is closed once there is nothing more to learn of the child.
func (p *Process) isOver() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.let == nil {
		p.let = make(chan struct{})
		if p.over() {
			close(p.let)
		}
	}
	return p.let
}

// look looks for a change without waiting.
func (p *Process) look(changes Change) (*State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over() {
		return p.result()
	}
	s := new(State)
	err := p.waitid(int(changes)|unix.WNOHANG|unix.WNOWAIT, s)
	if err == nil && (s.pid == 0 || s.Stopped() && changes&Stopped == 0) {
		return nil, nil // a traced child's stop, of which the kernel tells who asks for the end
	}
	if err == nil {
		*s = State{}
		err = p.waitid(int(changes)|unix.WNOHANG, s)
	}
	if errors.Is(err, unix.ECHILD) && changes&Exited == 0 {
		// So the kernel answers where there is nothing left but the end.
		err = p.waitid(unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, s)
	}
	switch {
	case err != nil:
		p.lost(err)
		return nil, err
	case s.pid == 0:
		return nil, nil
	case changes&Exited != 0 && (s.Exited() || s.Signaled()):
		p.state = *s
		p.release()
	}
	return s, nil
}
