package vspawn

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is a child that runs. Its methods may be called from any
// goroutine. Someone has to call Wait, or the child stays a zombie when it has
// ended, and holds a descriptor: or Close, to leave it to others.
//
// Of its four waits Wait is the one to take, and the others are for who can't:
//
//   - [Process.Wait] waits for the child's end, and reaps it.
//   - [Process.Poll] does the same if it has ended, and does not wait.
//   - [Process.WaitExit] waits for its end, and leaves it to be reaped by another,
//     such as os.Process.Wait.
//   - [Process.WaitFor] waits for stops and continuations as well.
//
// A wait that ends early, by its context, does nothing to the child. A child's exit
// status is no error.
type Process struct {
	pid   int
	pidfd int // -1 if the kernel has none, or once the child is reaped

	unopened error // why there is no pidfd where there could be one

	autoreap bool // the kernel reaps it, and kills it when pidfd is closed: DieWithParent

	mu    sync.Mutex
	state State         // once reaped: it then has a pid
	err   error         // once there will be no state
	ended chan struct{} // closed when the child has ended, or err is set; nil while no one waits
	token uint64        // with the poller
	alone bool          // a thread waits, and closes ended
	blind error         // why the last wait by a thread saw nothing
	let   chan struct{} // closed once it is over, for WaitFor; nil while no one needs it

	recallable bool       // a thread can be taken back from waitid
	briefly    *briefWait // one that is in it, or nil

	first  bool // of a PID namespace of its own
	cgroup int  // a descriptor of the one that it was born in, until it is over, or -1

	sharer *sharer // what ends with the child's memory, at the latest when it is reaped
}

// over tells whether there is nothing more to learn of the child. The caller
// holds mu.
func (p *Process) over() bool { return p.state.pid != 0 || p.err != nil }

// result is what Wait answers once it is over. The caller holds mu.
func (p *Process) result() (*State, error) {
	if p.err != nil {
		return nil, p.err
	}
	return &p.state, nil
}

func newProcess(in *instance, f *FeatureSet) *Process {
	p := &Process{pid: in.pid(), pidfd: int(in.prog.Pidfd), autoreap: in.autoreap, cgroup: -1,
		recallable: f.recall && !in.autoreap}
	switch {
	case !f.Pidfd && p.pidfd >= 0:
		unix.Close(p.pidfd)
		p.pidfd = -1
	case f.Pidfd && p.pidfd < 0: // no clone3, but pidfd_open
		p.openPidfd()
	}
	return p
}

// Pid is the child's process id, in the caller's PID namespace.
func (p *Process) Pid() int { return p.pid }

// Wait waits until the child has ended, reaps it and gives its state; again
// and from any number of goroutines the same. It holds no thread, except on
// kernels without pidfd. When ctx ends first, Wait returns its cause, and the
// child goes on. A process that traces the child has the news of its end first.
//
// How the child ended is in the State alone: an exit status that is not 0 is no
// error, other than with os/exec. An error is that there will be no state: ctx is
// over, the Process closed ([os.ErrClosed]), or an [*Error] of waitid, such as when
// someone else in this process has reaped the child.
func (p *Process) Wait(ctx context.Context) (*State, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if err := p.WaitExit(ctx); err != nil {
			return nil, err
		}
		if s, err := p.reap(); s != nil || err != nil {
			return s, err
		}
		select { // its tracer has not taken it yet
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// WaitExit waits like Wait, but leaves the child that has ended to be reaped
// by another: by os.Process.Wait, say, which then returns at once. Afterwards
// Close lets go of it. After Close it gives [os.ErrClosed].
func (p *Process) WaitExit(ctx context.Context) error {
	if p.brief() {
		return p.told(nil)
	}
	ended, err := p.watch()
	if err != nil {
		return err
	}
	select {
	case <-ended:
		return p.told(ended)
	case <-ctx.Done():
	}
	select {
	case <-ended: // what came first is told, whenever it is asked for
		return p.told(ended)
	default:
		return context.Cause(ctx)
	}
}

// told is what it means that ended is closed, if it is not nil: not always that
// the child has ended.
func (p *Process) told(ended <-chan struct{}) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == os.ErrClosed {
		return p.err
	}
	if ended != nil && ended != p.ended {
		return p.blind
	}
	return nil
}

// watch starts to wait for the child's end, once.
func (p *Process) watch() (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended != nil {
		return p.ended, nil
	}
	ended := make(chan struct{})
	switch {
	case p.over():
		close(ended)
	case p.pidfd >= 0 && (p.autoreap || !inBubble()): // of one that the kernel reaps only its pidfd tells
		token, err := ends.add(p.pidfd, p.endEvents(), ended)
		if err != nil {
			return nil, err
		}
		p.token = token
	default:
		p.alone = true
		go p.waitByThread(ended)
	}
	p.ended = ended
	return ended, nil
}

// waitByThread closes ended when the child has ended. A wait that the system
// refuses is no end: those who wait are told, and the next one tries again.
func (p *Process) waitByThread(ended chan struct{}) {
	err := p.waitDead()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alone { // it is over, and ended closed
		return
	}
	if p.alone = false; err != nil && err != unix.ECHILD {
		p.blind, p.ended = p.waitError(err), nil
	}
	close(ended)
}

// lost takes note of a wait that failed. Only a child that is no longer ours is
// lost for good; else there may be another wait. The caller holds mu.
func (p *Process) lost(err error) {
	if errors.Is(err, unix.ECHILD) {
		p.err = err
		p.release()
	}
}

// release gives up the pidfd, and wakes those who still wait. It is over, and
// the caller holds mu.
func (p *Process) release() {
	if p.token != 0 && ends.remove(p.token) || p.alone {
		p.alone = false
		close(p.ended)
	}
	if p.let != nil {
		close(p.let)
	}
	switch {
	case p.briefly != nil:
		p.briefly.own()
	case p.pidfd >= 0:
		unix.Close(p.pidfd) // which takes it off the poller as well
	}
	p.pidfd = -1
	if p.cgroup >= 0 {
		unix.Close(p.cgroup)
		p.cgroup = -1
	}
}

// waitid is waitid(2) for this child. It leaves s without a pid if there is no
// change.
func (p *Process) waitid(options int, s *State) error {
	var info siginfo
	idType, id := unix.P_PID, p.pid
	if p.pidfd >= 0 {
		idType, id = unix.P_PIDFD, p.pidfd
	}
	if p.autoreap {
		options |= unix.WALL // for one that tells its parent nothing
	}
	err := ignoringEINTR(func() error { return waitid(idType, id, &info, options, &s.rusage) })
	switch {
	case err == unix.ECHILD && p.autoreap && options&unix.WEXITED != 0:
		if err := p.exitInfo(s); err != nil {
			return err
		}
	case err != nil:
		return p.waitError(err)
	case info.pid != 0:
		s.pid, s.status = p.pid, info.waitStatus()
	}
	if s.pid != 0 && options&unix.WNOWAIT == 0 && (s.Exited() || s.Signaled()) {
		p.sharer.leave()
	}
	return nil
}

func (p *Process) waitError(err error) error {
	e := &Error{Step: "waitid", Object: "pid " + itoa(p.pid), Err: err}
	if err == unix.ECHILD {
		e.Hint = "someone else in this process has waited for any child, or it ignores SIGCHLD"
	}
	return e
}

// Close lets go of a child without waiting for it: it becomes the business of
// whoever waits for any child, or of init when the caller ends. Any wait under
// way, or later, returns [os.ErrClosed]. After a Wait that gave a state it does
// nothing. Where there is no pidfd, a thread that waits does so until the child
// has ended.
func (p *Process) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over() {
		return nil
	}
	if p.autoreap {
		p.keepPidfd()
	}
	p.err = os.ErrClosed
	p.release()
	return nil
}
