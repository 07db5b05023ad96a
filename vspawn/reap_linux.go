package vspawn

import (
	"time"

	"golang.org/x/sys/unix"
)

// reap takes the state of a child that has ended, without waiting. nil and no error is
// that of one which another process traces: the kernel shows it to its tracer alone
// until that has taken it, or has ended (kernel/exit.c, wait_consider_task). That may
// be never, and whoever is the child's user can do it. look looks first, which a
// child that has ended need not cost.
func (p *Process) reap() (*State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over() {
		return p.result()
	}
	var s State
	err := p.waitid(unix.WEXITED|unix.WNOHANG, &s)
	for err == nil && s.Stopped() { // a traced one, which is being killed
		s = State{}
		err = p.waitid(unix.WEXITED|unix.WNOHANG, &s)
	}
	switch {
	case err != nil:
		p.lost(err)
		return nil, err
	case s.pid == 0:
		return nil, nil
	}
	p.state = s
	p.release()
	return p.result()
}

// discard reaps a child that has failed to become a program, and is dead or
// dying. It waits for its death alone, and not for a tracer: see reap.
func (p *Process) discard() {
	if p.pidfd < 0 {
		p.discardByThread()
		return
	}
	ignoringEINTR(func() error {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}, -1)
		return err
	})
	if !p.reaped() {
		go func() {
			for pause := time.Millisecond; !p.reaped(); pause = min(2*pause, 100*time.Millisecond) {
				time.Sleep(pause)
			}
		}()
	}
}

// discardByThread does so without a pidfd: there only a wait tells of the death, and
// not if there is a tracer.
func (p *Process) discardByThread() {
	const patience = time.Second
	over := make(chan struct{})
	go func() {
		defer close(over)
		p.waitDead()
		p.reaped()
	}()
	select {
	case <-over:
	case <-time.After(patience):
	}
}

// reaped reaps a child that is dead, and tells whether there is no more to do.
func (p *Process) reaped() bool {
	s, err := p.reap()
	if s == nil && err == nil {
		return false
	}
	p.Close() // it may not let itself be waited for
	return true
}
