//go:build linux

package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// A job is the child as the shell's job control is to see it: one with us, also
// if its process group is another. Then the terminal's signals reach one of the
// two groups alone, and the shell knows only of ours.
type job struct {
	p     *vspawn.Process
	tty   *terminal // nil without -foreground
	keys  int       // the child's process group, if it is not ours; else 0
	group int       // the same, if it is in our session; else 0

	stopped bool // the child is
	asked   bool // its first stop is the one of -stopped
}

// notifyJob asks for the signals that concern the job, before there is a child:
// one that comes earlier would stop us alone. A SIGTSTP that is ignored the
// child is to ignore, too.
func notifyJob(signals chan<- os.Signal, r *request) {
	own := r.attr.Pgid != nil && !r.attr.Setsid
	if own && !ignored(unix.SIGTSTP) {
		signal.Notify(signals, unix.SIGTSTP)
	}
	if own || r.attr.Foreground {
		signal.Notify(signals, unix.SIGCONT)
	}
}

func newJob(p *vspawn.Process, tty *terminal, r *request) *job {
	j := &job{p: p, tty: tty, asked: r.attr.StartStopped}
	// The number is the child's until it is reaped, so it can't be another's.
	group, err := unix.Getpgid(p.Pid())
	if err != nil {
		return j
	}
	if tty != nil {
		tty.group = group
	}
	if group == unix.Getpgrp() {
		return j
	}
	j.keys = group
	// A new session has a terminal of its own, or none: its stops are not for
	// our shell.
	if !r.attr.Setsid {
		j.group = group
	}
	return j
}

// A change is one of the child's state.
type change struct {
	state *vspawn.State
	err   error
}

// watch tells of the child's end, and before it, of its stops if they concern
// us.
func (j *job) watch() <-chan change {
	wait := j.p.Wait
	if j.group != 0 {
		wait = func(ctx context.Context) (*vspawn.State, error) {
			return j.p.WaitFor(ctx, vspawn.Exited|vspawn.Stopped)
		}
	}
	changes := make(chan change, 1)
	go func() {
		for {
			s, err := wait(context.Background())
			changes <- change{s, err}
			if err != nil || !s.Stopped() {
				return
			}
		}
	}()
	return changes
}

// key is for a signal of the keyboard's that we got. Our own group has got it
// from the terminal. Another gets it as a whole, as there: a shell in it waits
// for what it runs.
func (j *job) key(s syscall.Signal) {
	if j.keys != 0 {
		unix.Kill(-j.keys, s) // fails only if there is no one left to get it
	}
	if j.group != 0 {
		j.resume() // or it would get it by and by, if it is stopped
	}
}

// pass passes on a signal to the child.
func (j *job) pass(s syscall.Signal) {
	j.p.Signal(s) // fails only if there is no one left to get it
	if s == unix.SIGHUP && j.group != 0 {
		j.resume() // or it would get it by and by, if it is stopped
	}
}

// signal is for a SIGTSTP or SIGCONT that we got.
func (j *job) signal(s syscall.Signal) {
	switch {
	case s == unix.SIGCONT:
		j.continued()
	case j.group == 0 || j.stopped: // there will be no stop of the child's to follow
		stopOurselves(s, false)
	default: // as the terminal does it
		unix.Kill(-j.group, s)
	}
}

// follow stops us, as the child has stopped, so that the shell gets control.
func (j *job) follow(s syscall.Signal) {
	j.stopped = true
	if s == unix.SIGSTOP && j.asked {
		j.asked = false
		return
	}
	j.asked = false
	wantsTTY := s == unix.SIGTTIN || s == unix.SIGTTOU
	if wantsTTY && j.tty.offer() {
		j.resume() // it has what it had stopped for
		return
	}
	had := j.tty.takeBack()
	as := s
	if s == unix.SIGSTOP {
		// The kernel does not stop us by SIGTSTP where no shell could continue
		// us (an orphaned process group); by SIGSTOP it would.
		as = unix.SIGTSTP
	}
	// If the terminal was the child's, its keys have reached none of our group,
	// in which there may be those who started us, and wait.
	stopOurselves(as, had)
	// We have been continued, or could not be stopped. In an orphaned group
	// SIGTSTP would have had no effect; a child that wants the terminal would
	// stop again and again, and one that got SIGSTOP is to stay: these wait for
	// SIGCONT.
	if s == unix.SIGTSTP {
		j.resume()
	}
}

// continued is for a SIGCONT to us, with which a shell may have given us the
// terminal, or have taken it away.
func (j *job) continued() {
	if j.stopped {
		j.resume()
		return
	}
	j.tty.offer()
}

// resume continues the child.
func (j *job) resume() {
	j.tty.offer()
	j.stopped = false
	unix.Kill(-j.group, unix.SIGCONT)
}

// stopOurselves stops this process as s does by default, and with it the others
// of its process group if all is set. It returns when we have been continued,
// or at once if s can't stop us.
func stopOurselves(s syscall.Signal, all bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Ours waits for us in the mask while the others get theirs. A shell that
	// sees one of them stopped may continue us all at once: with that the kernel
	// drops it, where one that was sent later would stop us for good. Sent to
	// this very thread, it has stopped us before the unblocking returns.
	unblock := blocked(s)
	// Package signal has no way back to the default of a signal that it has
	// caught. While it is ignored, the group's is not queued for us as well.
	was := setAction(s, ignore)
	defer func() { setAction(s, was) }()
	if !was.ignores() {
		unix.Tgkill(os.Getpid(), unix.Gettid(), s)
	}
	if all {
		unix.Kill(0, s)
	}
	if !was.ignores() {
		setAction(s, action{})
	}
	unblock()
}

// blocked blocks a signal for this thread.
func blocked(s syscall.Signal) (unblock func()) {
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (s - 1)
	if unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old) != nil {
		return func() {}
	}
	return func() { unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) }
}

// A terminal is one whose foreground group the child's is to be. Shells take it
// and give it, so only the kernel knows who has it.
type terminal struct {
	fd     int
	before int // the group that had it
	group  int // the child's; 0 until it has started
}

// newTerminal gives nil for what is no terminal of ours: Start says so.
func newTerminal(fd int) *terminal {
	before, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if err != nil {
		return nil
	}
	return &terminal{fd: fd, before: before}
}

// takeBack gives the terminal back to those who had it, lest whatever comes
// after us be stopped when it reads. It tells whether it was the child's.
func (t *terminal) takeBack() bool {
	if t == nil {
		return false
	}
	group, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	switch {
	case err != nil:
		return false
	case t.group == 0: // the start has failed, perhaps behind that step
	case group != t.group && unix.Kill(-group, 0) != unix.ESRCH:
		return false // a shell has given it to others, who live
	}
	return t.set(t.before) == nil
}

// offer gives the child the terminal if it is our own group's, and tells
// whether the child has it then.
func (t *terminal) offer() bool {
	if t == nil {
		return false
	}
	group, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	if err == nil && group != t.group && group == unix.Getpgrp() {
		t.before = group
		err = t.set(t.group)
		group = t.group
	}
	return err == nil && group == t.group
}

// set makes a group the foreground group. For that a background process gets
// SIGTTOU, unless it is blocked.
func (t *terminal) set(group int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer blocked(unix.SIGTTOU)()
	return unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, group)
}
