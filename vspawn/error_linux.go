package vspawn

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// createError is why there is no child.
func (in *instance) createError(p *Plan, r uintptr) error {
	e := &Error{Step: "clone", Err: unix.Errno(-r)}
	if in.prog.Create.Nr == unix.SYS_CLONE3 {
		e.Step = "clone3"
	}
	namespaces := p.cloneFlags &^ unix.CLONE_INTO_CGROUP
	if p.cloneFlags != namespaces {
		if hint := cgroupHint(e.Err, namespaces); hint != "" {
			e.Field, e.Object, e.Hint = "Cgroup", itoa(p.cgroup), hint
			return e
		}
	}
	switch e.Err {
	case unix.EAGAIN:
		e.Hint = "a limit on the number of processes is reached: RLIMIT_NPROC, the cgroup's pids.max or kernel.pid_max"
		return e
	case unix.EMFILE, unix.ENFILE:
		e.Hint = "the pidfd takes a descriptor: RLIMIT_NOFILE or fs.file-max is reached"
		return e
	case unix.ENOMEM:
		if bornApart() {
			e.Hint = "the first process of the PID namespace that this thread's children are born in may have ended (pid_namespaces(7))"
		}
		return e
	}
	if namespaces == 0 {
		return e
	}
	e.Field, e.Object = "Cloneflags", flagNames(namespaces)
	switch e.Err {
	case unix.EPERM:
		e.Hint = "new namespaces need CAP_SYS_ADMIN, or CLONE_NEWUSER beside them where the system allows it"
	case unix.ENOSPC:
		e.Hint = "a limit on the number of nested namespaces is reached: /proc/sys/user/max_*_namespaces"
		if p.cloneFlags != namespaces {
			e.Hint += ", or the cgroup has no CPU"
		}
	case unix.EINVAL:
		e.Hint = "the kernel does not have, or does not allow together, what Cloneflags and Cgroup ask for"
	}
	return e
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

// errUnexpected is a step whose result is no error to the kernel.
var errUnexpected = errors.New("unexpected result")

// failure is what the failing step ended in.
func (in *instance) failure() error {
	if isErrno(in.prog.Result) {
		return unix.Errno(-in.prog.Result)
	}
	return errUnexpected
}

func (in *instance) stepError(step uintptr, cause error) error {
	if step == 0 { // killed before its first
		return &Error{Step: "start", Err: cause}
	}
	o := in.at(step)
	e := &Error{Step: o.name, Field: o.field, Object: o.objectText(), Err: cause}
	switch {
	case cause == errUnexpected && o.name == "getppid":
		e.Err, e.Hint = unix.ESRCH, "the parent died before it was set"
	case cause == unix.EACCES && o.name == "seccomp":
		e.Hint = "it needs NoNewPrivs, or CAP_SYS_ADMIN in the child"
	case cause == unix.EPERM && o.name == "setgroups":
		e.Hint = "it needs CAP_SETGID, and in a user namespace a GIDMap with AllowSetgroups; KeepGroups keeps the groups as they are"
	case cause == unix.EUSERS && o.name == "setns":
		e.Hint = "a time namespace can't be entered by a child that shares memory: use Cloneflags"
	case cause == unix.EINVAL && o.name == "pivot_root":
		e.Hint = "it must be a mount point, not a shared one (PrivateMounts), and the root that is left not the initramfs (pivot_root(2))"
	case cause == unix.ENOSYS || cause == unix.EOPNOTSUPP:
		e.Hint = "the kernel is too old, or built without it"
	case o.name != "execve":
	case cause == unix.ENOENT:
		if _, err := os.Stat(e.Object); err == nil {
			e.Hint = "the file is there: its interpreter (the #! line, or the dynamic linker) may not be"
		}
	case cause == unix.ENOEXEC:
		e.Hint = "not a program for this machine, or a script without a #! line"
		if f := features.found.Load(); f != nil && !f.MMU {
			e.Hint = "not a program for this machine, which has no MMU and takes only those that run anywhere in memory, or a script without a #! line"
		}
	}
	return e
}
