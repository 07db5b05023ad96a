package vspawn

import (
	"os"

	"golang.org/x/sys/unix"
)

// createError is why there is no child.
func (in *instance) createError(p *Plan, r uintptr) error {
	e := &Error{Step: "clone", Object: flagNames(p.cloneFlags), Err: unix.Errno(-r)}
	if in.prog.Create.Nr == unix.SYS_CLONE3 {
		e.Step = "clone3"
	}
	if e.Object != "" {
		e.Field = "Cloneflags"
	}
	switch e.Err {
	case unix.EAGAIN:
		e.Hint = "a limit on the number of processes is reached: RLIMIT_NPROC, the cgroup's pids.max or kernel.pid_max"
	case unix.EPERM:
		if p.cloneFlags != 0 {
			e.Hint = "new namespaces need CAP_SYS_ADMIN, or CLONE_NEWUSER beside them where the system allows it"
		}
	case unix.ENOSPC:
		e.Hint = "a limit on the number of nested namespaces is reached: /proc/sys/user/max_*_namespaces"
	case unix.EBADF:
		e.Field, e.Object, e.Hint = "Cgroup", itoa(p.cgroup), "it must be a directory of a cgroup v2 file system"
	case unix.E2BIG:
		e.Field, e.Object, e.Hint = "Cgroup", itoa(p.cgroup), "needs Linux 5.7 (CLONE_INTO_CGROUP)"
	case unix.EINVAL:
		e.Hint = "the kernel does not have, or does not allow together, what Cloneflags and Cgroup ask for"
	}
	return e
}

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
