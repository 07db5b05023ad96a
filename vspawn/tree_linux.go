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
// It gives [os.ErrProcessDone] for a child that has been reaped, and an [*Error] if some of
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
	t.list, t.has = t.processes, t.descends
	t.add(p.pid, p.pidfd)
	return t.kill()
}

// cantFind is why the processes that the child has started can't be told from others.
func (p *Process) cantFind() error {
	const alone = ", a Cgroup, or CLONE_NEWPID: the child alone was killed"
	if p.pidfd < 0 {
		return &Error{Step: "pidfd_open", Object: "what pid " + itoa(p.pid) + " has started", Err: unix.ENOSYS, Hint: "needs Linux 5.4" + alone}
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
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || slices.Contains(pids, os.Getpid()) {
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
	t.list = func() []int { pids, _ := cgroupPids(p.cgroup); return pids }
	t.has = func(pid int) bool { return slices.Contains(t.list(), pid) }
	return t.kill()
}

// cgroupPids are the processes in a cgroup and below it.
func cgroupPids(dir int) (pids []int, err error) {
	open := func(name string) (*os.File, error) {
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &Error{Step: "openat", Field: "Cgroup", Object: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
	procs, err := open("cgroup.procs")
	if err != nil {
		return nil, err
	}
	defer procs.Close()
	if pids, err = readNumbers(procs); err != nil {
		return nil, &Error{Step: "read", Field: "Cgroup", Object: procs.Name(), Err: errors.Unwrap(err)}
	}
	self, err := open(".")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	entries, _ := self.ReadDir(-1)
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		below, err := unix.Openat(dir, e.Name(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // it is gone
		}
		more, _ := cgroupPids(below)
		unix.Close(below)
		pids = append(pids, more...)
	}
	return pids, nil
}
