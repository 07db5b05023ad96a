package vspawn

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Poll is Wait without waiting: it gives nil, and no error, if the child has not
// ended.
func (p *Process) Poll() (*State, error) { return p.look(Exited) }

// Signal sends a signal. It gives [os.ErrProcessDone] for a child that has
// been reaped, and never reaches another process that has got its pid. Without
// pidfds (before Linux 5.4) that is so unless someone else has reaped the child.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over() {
		return os.ErrProcessDone
	}
	return p.signal(s)
}

// signal sends a signal to a child that is not over. The caller holds mu.
func (p *Process) signal(s syscall.Signal) error {
	if !kernelInt(int(s)) {
		return &Error{Step: "kill", Object: "pid " + itoa(p.pid), Err: unix.EINVAL}
	}
	send := func() error { return unix.Kill(p.pid, s) }
	if p.pidfd >= 0 {
		send = func() error { return unix.PidfdSendSignal(p.pidfd, s, nil, 0) }
	}
	switch err := send(); err {
	case nil:
	case unix.ESRCH: // someone else has reaped it
		return os.ErrProcessDone
	default:
		return &Error{Step: "kill", Object: "pid " + itoa(p.pid), Err: err}
	}
	return nil
}

// Kill sends SIGKILL.
func (p *Process) Kill() error { return p.Signal(unix.SIGKILL) }

// SignalGroup sends a signal to the process group that the child leads: it was
// started with Setsid, or with Pgid 0. As long as the child is not reaped no
// other group can have its number.
func (p *Process) SignalGroup(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over() {
		return os.ErrProcessDone
	}
	err := error(unix.EINVAL)
	switch {
	case !kernelInt(int(s)):
	case p.autoreap: // its number may be another's
		const processGroup = 1 << 2 // PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9
		err = unix.PidfdSendSignal(p.pidfd, s, nil, processGroup)
	default:
		err = unix.Kill(-p.pid, s)
	}
	if err != nil {
		e := &Error{Step: "kill", Object: "process group " + itoa(p.pid), Err: err}
		if err == unix.ESRCH {
			e.Hint = "the child does not lead a group: start it with Setsid, or with Pgid 0"
		}
		return e
	}
	return nil
}

// KillCgroup kills every process in a cgroup v2 and below it, forks under way
// included (cgroup.kill, Linux 5.14). dir is its directory.
func KillCgroup(dir Descriptor) error {
	fail := func(step string, err error) error {
		e := &Error{Step: step, Object: "cgroup.kill", Err: err}
		if err == unix.ENOENT {
			e.Hint = "needs Linux 5.14, and a cgroup v2 other than the root"
		}
		return e
	}
	at, err := number(dir)
	if err != nil {
		return fail("openat", err)
	}
	if !kernelInt(at) {
		return fail("openat", unix.EBADF)
	}
	fd, err := unix.Openat(at, "cgroup.kill", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	runtime.KeepAlive(dir)
	if err != nil {
		return fail("openat", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("1")); err != nil {
		return fail("write", err)
	}
	return nil
}
