package vspawn

import "golang.org/x/sys/unix"

func addCgroup(c *compiler) error {
	if c.attr.Cgroup == nil {
		return nil
	}
	c.plan.cgroup = c.fd("Cgroup", sysClone3, c.attr.Cgroup)
	c.plan.cloneFlags |= unix.CLONE_INTO_CGROUP
	return nil
}

// copyCgroup makes a copy of the cgroup's descriptor, for KillTree, or gives -1.
func (p *Plan) copyCgroup(low *lowCopies) (fd int, err error) {
	if p.cloneFlags&unix.CLONE_INTO_CGROUP == 0 {
		return -1, nil
	}
	if fd, err = unix.FcntlInt(uintptr(p.cgroup), unix.F_DUPFD_CLOEXEC, p.top); err == unix.EINVAL {
		fd, err = unix.FcntlInt(uintptr(p.cgroup), unix.F_DUPFD_CLOEXEC, 0) // near the limit
	}
	if err != nil {
		return -1, &Error{Step: "fcntl", Field: "Cgroup", Object: "F_DUPFD_CLOEXEC", Err: err}
	}
	return p.keepClear(fd, low)
}

// cgroupHint is what may be done about an error that is the cgroup's, or "" for
// one that may be another's, such as the new namespaces' (kernel/cgroup,
// cgroup_css_set_fork).
func cgroupHint(err error, namespaces uint64) string {
	switch err {
	case unix.EBADF:
		return "it must be a directory of a cgroup v2 file system"
	case unix.E2BIG:
		return "needs Linux 5.7 (CLONE_INTO_CGROUP)"
	case unix.ENOENT, unix.ENODEV:
		return "it has been removed, or is outside our cgroup namespace"
	case unix.EBUSY:
		return "it gives controllers to those below it (cgroup.subtree_control), so it can't have processes itself"
	case unix.EOPNOTSUPP:
		return "it is in a threaded subtree, or is one that is not valid (cgroup.type)"
	case unix.EACCES:
		return "it takes the right to write its cgroup.procs, and that of the nearest cgroup which holds ours too"
	}
	switch {
	case namespaces != 0:
		return ""
	case err == unix.EINVAL:
		return "needs Linux 5.7 (CLONE_INTO_CGROUP)"
	case err == unix.ENOSPC:
		return "it has no CPU (cpuset.cpus.effective)"
	}
	return ""
}
