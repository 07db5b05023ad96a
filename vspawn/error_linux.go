package vspawn

import (
	"errors"
	"slices"

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

// shortage tells whether an error is for want of something, and not for good.
func shortage(err error) bool {
	var errno unix.Errno
	errors.As(err, &errno)
	switch errno {
	case unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE:
		return true
	}
	return false
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

// unanswered tells whether the child has failed for want of an answer.
func (in *instance) unanswered() bool {
	return in.prog.Failed != 0 && (in.failure() == errUnexpected || in.failure() == unix.EPIPE)
}

func (in *instance) stepError(step uintptr, cause error) error {
	if step == 0 { // killed before its first
		return &Error{Step: "start", Err: cause}
	}
	return in.at(step).failed(cause)
}

// failed is the error of an op that has failed.
func (o *op) failed(cause error) *Error {
	e := &Error{Step: o.name, Field: o.field, Object: o.objectText(), Err: cause}
	if o.explain != nil {
		o.explain(e)
	}
	if e.Hint == "" && cause == unix.EBADF && o.usesSpare() {
		e.Hint = "the child could not keep the descriptor at a number of its own: memory may have run out"
	}
	if e.Hint == "" && (cause == unix.ENOSYS || cause == unix.EOPNOTSUPP) {
		e.Hint = "the kernel is too old, or built without it"
	}
	return e
}

// usesSpare tells whether o takes a spare number for a descriptor. The copy to it may
// fail (opKeep), and if it has, there is none.
func (o *op) usesSpare() bool {
	return slices.ContainsFunc(o.args, func(a arg) bool { return a.kind == argSpare || a.kind == argSpareRule })
}
