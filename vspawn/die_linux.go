package vspawn

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Flags of clone3 since Linux 7.1 (include/uapi/linux/sched.h), which package unix has not.
const (
	cloneAutoreap = 1 << 34 // CLONE_AUTOREAP: it is never a zombie
	cloneNNP      = 1 << 35 // CLONE_NNP: no_new_privs from its birth on
	cloneAutokill = 1 << 36 // CLONE_PIDFD_AUTOKILL: SIGKILL when its pidfd is open no more
)

// A child of DieWithParent is killed by the kernel when the last reference to its
// pidfd goes, which is at the end of this process. That is not cleared by a change of
// credentials, nor at the exec of a set-user-ID program, as the parent-death signal is,
// and it knows no threads. But it has a price: the kernel reaps such a child itself
// (it can't be had without CLONE_AUTOREAP), so that no number is kept for it and
// nothing is told of what it has used; and who may not kill all programs, which takes
// CAP_SYS_ADMIN, has to see to it that this one gains no privileges.

// autokillFlags are those with which a child of this thread's is bound to its pidfd, or
// 0: then it is the parent-death signal, and a thread that lasts. The tracer of a
// traced child takes its news by number, and may not lose it.
func (p *Plan) autokillFlags(f *FeatureSet) uint64 {
	switch {
	case !p.dies || !f.Autokill || p.traced:
		return 0
	case p.bornNNP || threadNoNewPrivs():
		return cloneAutoreap | cloneAutokill | cloneNNP
	case threadHas(unix.CAP_SYS_ADMIN):
		return cloneAutoreap | cloneAutokill
	}
	return 0
}

func threadNoNewPrivs() bool {
	is, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return err == nil && is == 1
}

func threadHas(capability uint) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[capability/32].Effective&(1<<(capability%32)) != 0
}

// startsLasting tells whether the child is to be started from a thread that lasts.
// What a locked goroutine has done to its thread is to hold for its children, so that
// it can't be another thread: with Pdeathsig alone the child ends with that one, which
// is not what DieWithParent says. The main thread lasts.
func (p *Plan) startsLasting() (bool, error) {
	switch {
	case !p.pdeathsig:
		return false, nil
	case !lockedThread():
		return true, nil
	case p.dies && unix.Gettid() != unix.Getpid():
		return false, &Error{Step: "start", Field: "DieWithParent", Err: errors.ErrUnsupported,
			Hint: "the goroutine is locked to its thread, with which the child would die: unlock it, or take Pdeathsig for that; " +
				"or Linux 7.1, with NoNewPrivs and no Syscalls, or with CAP_SYS_ADMIN"}
	}
	return false, nil
}

// tryAutokill tries whether a child can be bound to its pidfd, and whether that tells
// how it has ended.
func (f *FeatureSet) tryAutokill() error {
	if !f.Clone3 || !f.Pidfd || !f.SharedMemory || !f.LoneCoreDump { // no kernel so old has it, and a try costs the flag
		return nil
	}
	const status = 7
	for range tries {
		ws, over, err := f.tryBound(status)
		if err != nil && missing(err) {
			return nil
		}
		if f.Autokill = over && ws.ExitStatus() == status; f.Autokill || err != nil || !ws.Signaled() {
			return err
		}
	}
	return allKilled()
}

// tryBound makes a child that is bound to its pidfd, and that exits.
func (f *FeatureSet) tryBound(status int32) (ws syscall.WaitStatus, over bool, err error) {
	plan := &Plan{compiled: &compiled{ops: []op{{call: sysExitGroup, args: []arg{dec(status)}}},
		cloneFlags: cloneAutoreap | cloneAutokill | cloneNNP}}
	in, err := f.try(plan, 0)
	if err != nil {
		return 0, false, err
	}
	defer instances.Put(in)
	pidfd := int(in.prog.Pidfd)
	defer unix.Close(pidfd)
	pollPidfd(pidfd, 0, -1)
	ws, over, err = pidfdExit(pidfd)
	if err == unix.ENOTTY { // before Linux 6.13
		return 0, false, nil
	}
	if err != nil {
		err = &Error{Step: "ioctl", Object: "PIDFD_GET_INFO", Err: err}
	}
	return ws, over, err
}

// pollPidfd waits for events of a pidfd: POLLIN at the child's death, and POLLHUP, which
// is told in any case, when it has been reaped (Linux 6.9). Until one of them comes the
// number is the child's. It gives what there is.
func pollPidfd(fd int, events int16, milliseconds int) (revents int16) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	ignoringEINTR(func() error {
		_, err := unix.Poll(fds, milliseconds)
		return err
	})
	return fds[0].Revents
}

// endEvents are what is waited for of the child's pidfd. A child that the kernel reaps has
// said how it has ended once it is gone.
func (p *Process) endEvents() int16 {
	if p.autoreap {
		return 0
	}
	return unix.POLLIN
}

// exitInfo is waitid for the end of a child that the kernel reaps.
func (p *Process) exitInfo(s *State) error {
	ws, over, err := pidfdExit(p.pidfd)
	switch {
	case err != nil:
		return &Error{Step: "ioctl", Object: "PIDFD_GET_INFO, pid " + itoa(p.pid), Err: err}
	case over:
		s.pid, s.status = p.pid, ws
	}
	return nil
}

// keepPidfd keeps a child that is bound to its pidfd alive, until it ends by itself, when
// no one wants to know of it any more. If that can't be, the descriptor stays open.
func (p *Process) keepPidfd() {
	fd, err := unix.FcntlInt(uintptr(p.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		p.pidfd = -1
		return
	}
	ended := make(chan struct{})
	if _, err := ends.add(fd, p.endEvents(), ended); err != nil {
		return
	}
	go func() {
		<-ended
		unix.Close(fd)
	}()
}

// anotherPidfd opens a pidfd of a child that is bound to p.pidfd: a copy of that, with
// another process, would keep the child alive. The number was the child's if that is not
// reaped even now.
func (p *Process) anotherPidfd() (int, error) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if pollPidfd(p.pidfd, 0, 0)&unix.POLLHUP != 0 {
		if err == nil {
			unix.Close(fd)
		}
		return -1, unix.ESRCH
	}
	return fd, err
}
