package vspawn

import (
	"cmp"
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// KillTree kills (SIGKILL) the child and all that it has started, and what that has in its
// turn, by the most exact way that the child was started for:
//
//   - With CLONE_NEWPID in Cloneflags all of the namespace end with the child, its first process.
//   - With Cgroup all in it and below it are killed, those too that the child has not started:
//     a child whose tree is to be killed gets a cgroup of its own. That is one write to
//     cgroup.kill; before Linux 5.14, which has none, they are killed one after the other.
//     A cgroup that is gone, or in which this process is itself, is left alone, and the next
//     way taken.
//   - Else it is what /proc shows: the child, all that descends from it, and with Setsid all of
//     its session. Each is stopped first (SIGSTOP), so that it starts no others, and
//     reached by a pidfd, so that no stranger is hit. Out of reach is one whose parent has
//     ended, if it is not in the child's session, and what /proc does not show. One that is
//     traced, or that another lets go on (SIGCONT), may slip through.
//
// It gives [os.ErrProcessDone] for a child that has been reaped, which the kernel does itself
// with one of DieWithParent, and an [*Error] if some of
// them could not be found or killed; all others are killed then. It does not wait until
// they are dead. The last way takes Linux 5.4, and a /proc of this PID namespace: without them the
// child alone is killed, and the error says so.
func (p *Process) KillTree() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over() {
		return os.ErrProcessDone
	}
	if p.first {
		return p.signal(unix.SIGKILL)
	}
	if p.cgroup >= 0 {
		if done, err := p.killCgroup(); done {
			return err
		}
	}
	if e := p.cantFind(); e != nil {
		if err := p.signal(unix.SIGKILL); err != nil {
			return err
		}
		return e
	}
	t := p.tree()
	t.list, t.has, t.rootFD = t.processes, t.descends, p.pidfd
	t.add(p.pid, p.pidfd)
	if err := t.kill(); err != nil || t.hit {
		return err
	}
	return os.ErrProcessDone // someone else has reaped it, and its number says nothing any more
}

// cantFind is why the processes that the child has started can't be told from others.
func (p *Process) cantFind() error {
	const alone = "; with a Cgroup, or CLONE_NEWPID, it is not needed: the child alone was killed"
	if p.pidfd < 0 {
		e := p.noPidfd()
		e.Object, e.Hint = "what pid "+itoa(p.pid)+" has started", e.Hint+alone
		return e
	}
	self, err := os.Readlink("/proc/self")
	switch {
	case err != nil:
		err = errors.Unwrap(err)
	case self != itoa(os.Getpid()):
		err = unix.ESRCH
	default:
		return nil
	}
	return &Error{Step: "readlink", Object: "/proc/self", Err: err, Hint: "needs a /proc of this PID namespace" + alone}
}

// killCgroup kills all in the child's cgroup, and the child, which may have been moved. It is
// not done if the cgroup is gone, or if we are in it.
func (p *Process) killCgroup() (done bool, err error) {
	pids, err := cgroupPids(p.cgroup)
	if cgroupIsGone(err) || slices.Contains(pids, os.Getpid()) {
		return false, nil
	}
	if err == nil {
		err = KillCgroup(FD(p.cgroup))
	}
	if errors.Is(err, unix.ENOENT) {
		if p.pidfd < 0 {
			return false, nil
		}
		err = p.killListed()
	}
	if killed := p.signal(unix.SIGKILL); killed != os.ErrProcessDone {
		err = cmp.Or(err, killed)
	}
	return true, err
}

// killListed kills what is in the child's cgroup where there is no cgroup.kill.
func (p *Process) killListed() error {
	t := p.tree()
	t.list = func() ([]int, error) {
		pids, err := cgroupPids(p.cgroup)
		if cgroupIsGone(err) { // with all that was in it
			err = nil
		}
		return pids, err
	}
	t.has = func(pid int) bool {
		pids, err := t.list()
		if err != nil {
			t.fail(err)
		}
		return slices.Contains(pids, pid)
	}
	return t.kill()
}

// cgroupIsGone tells whether an error is that of a directory that has been removed.
func cgroupIsGone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }

// cgroupPids are the processes in a cgroup and below it.
func cgroupPids(dir int) (pids []int, err error) {
	open := func(name string, flags int) (*os.File, error) {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &Error{Step: "openat", Field: "Cgroup", Object: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
	failed := func(name string, err error) error {
		return &Error{Step: "read", Field: "Cgroup", Object: name, Err: errors.Unwrap(err)}
	}
	procs, err := open("cgroup.procs", unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer procs.Close()
	if pids, err = readNumbers(procs); err != nil {
		return nil, failed(procs.Name(), err)
	}
	self, err := open(".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer self.Close()
	entries, err := self.ReadDir(-1)
	if err != nil {
		return nil, failed(self.Name(), err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		var more []int
		below, err := open(e.Name(), unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			more, err = cgroupPids(int(below.Fd()))
			below.Close()
		}
		switch {
		case cgroupIsGone(err):
		case errors.Is(err, unix.EOPNOTSUPP): // of threads, whose processes the one above lists
		case err != nil:
			return nil, err
		}
		pids = append(pids, more...)
	}
	return pids, nil
}
