package vspawn

import (
	"os"

	"golang.org/x/sys/unix"
)

// openPidfd opens the pidfd by number. Whoever waits for any child in this process may
// have reaped ours by now, and the number be another's: then the child is lost.
func (p *Process) openPidfd() {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil && err != unix.ESRCH && err != unix.EINVAL { // for want of a descriptor, say
		p.unopened = err
		return
	}
	if err == nil {
		p.pidfd = fd
	}
	var s State
	if err := p.waitid(unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, &s); err != nil {
		p.lost(err)
	}
}

// Pidfd gives a descriptor of the child that the caller owns, and has to
// close: to wait by poll, or to hand to another process (pidfd_open(2)).
func (p *Process) Pidfd() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noBrief() // which would set a flag that the copy shares
	switch {
	case p.over():
		return -1, os.ErrProcessDone
	case p.pidfd < 0:
		return -1, p.noPidfd()
	}
	if p.autoreap {
		fd, err := p.anotherPidfd()
		switch err {
		case nil:
			return fd, nil
		case unix.ESRCH:
			return -1, os.ErrProcessDone
		}
		return -1, &Error{Step: "pidfd_open", Object: "pid " + itoa(p.pid), Err: err}
	}
	fd, err := unix.FcntlInt(uintptr(p.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, &Error{Step: "fcntl", Object: "F_DUPFD_CLOEXEC", Err: err}
	}
	return fd, nil
}

// noPidfd says why there is no pidfd.
func (p *Process) noPidfd() *Error {
	e := &Error{Step: "pidfd_open", Object: "pid " + itoa(p.pid), Err: unix.ENOSYS, Hint: "needs Linux 5.4"}
	if p.unopened != nil {
		e.Err, e.Hint = p.unopened, "there was none when the child was started"
	}
	return e
}
