package exec

import (
	"context"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/vspawn/vspawn/vspawn"
)

// planAgain answers as os/exec does for a command that the library has refused:
// it asks a child, or gives the errno itself. A command with an Attr keeps the
// library's error.
func (c *Cmd) planAgain(fds []int, env []string, err error) (*vspawn.Plan, error) {
	var refused *vspawn.AttrError
	switch {
	case c.Attr != nil:
		return nil, err
	case c.hasNUL(env):
		return nil, syscall.EINVAL
	case !errors.As(err, &refused):
		return nil, err
	}
	plan, err := c.compile(fds, env, true)
	var known *refusal
	if errors.As(err, &refused) && !errors.As(err, &known) {
		err = &refusal{refused, syscall.EINVAL}
	}
	return plan, err
}

// hasNUL tells of a string that can't be passed on.
func (c *Cmd) hasNUL(env []string) bool {
	all := slices.Concat([]string{c.Path, c.Dir}, c.Args, env)
	if c.SysProcAttr != nil {
		all = append(all, c.SysProcAttr.Chroot)
	}
	return slices.ContainsFunc(all, func(s string) bool { return strings.IndexByte(s, 0) >= 0 })
}

func (m *mapping) credential() {
	const none = math.MaxUint32
	c := m.sys.Credential
	if c.Uid == none {
		m.call("UID", "setuid", syscall.SYS_SETUID, none)
	} else {
		put(m, "Credential", &m.attr.UID, vspawn.Ptr(int(c.Uid)))
	}
	if c.Gid == none {
		m.call("GID", "setgid", syscall.SYS_SETGID, none)
	} else {
		put(m, "Credential", &m.attr.GID, vspawn.Ptr(int(c.Gid)))
	}
	// In a user namespace that denies setgroups there is nothing to drop.
	denied := m.sys.GidMappings != nil && !m.sys.GidMappingsEnableSetgroups && len(c.Groups) == 0
	if c.NoSetGroups || denied {
		m.attr.KeepGroups = true
		return
	}
	const most = 65536
	if len(c.Groups) > most || slices.Contains(c.Groups, none) {
		m.call("Groups", "setgroups", syscall.SYS_SETGROUPS, most+1, 0)
		m.attr.KeepGroups = true
		return
	}
	groups := make([]int, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = int(g)
	}
	put(m, "Credential", &m.attr.Groups, groups)
}

// What package syscall has not (linux/prctl.h, linux/capability.h).
const (
	prCapAmbient      = 47
	prCapAmbientRaise = 2
	capSysAdmin       = 21
)

// ambientCaps leaves to the kernel what the child doesn't have, and what it
// doesn't know.
func (m *mapping) ambientCaps() {
	var set vspawn.CapSet
	for _, c := range m.sys.AmbientCaps {
		if c > 63 {
			m.refuse("AmbientCaps", "there is no capability of that number", syscall.EINVAL)
			return
		}
		set |= vspawn.Caps(int(c))
	}
	permitted, known := m.capabilities()
	for _, wrong := range []vspawn.CapSet{set & known &^ permitted, set &^ known} {
		for c := range 64 {
			if wrong&vspawn.Caps(c) != 0 {
				m.call("Dir", "prctl", syscall.SYS_PRCTL, prCapAmbient, prCapAmbientRaise, uintptr(c))
				return
			}
		}
	}
	m.attr.Ambient |= set
}

// capabilities are those that the child may have, and that the kernel knows.
func (m *mapping) capabilities() (permitted, known vspawn.CapSet) {
	for c := range 64 {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_CAPBSET_READ, uintptr(c), 0); errno == 0 {
			known |= vspawn.Caps(c)
		}
	}
	_, permitted, err := capget()
	if m.newUser() || err != nil {
		return known, known
	}
	return permitted, known
}

const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWCGROUP | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC |
	syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWTIME

// cloneflags takes over what a child can be given beside those of vfork.
func (m *mapping) cloneflags() {
	flags := uint64(m.sys.Cloneflags)
	if m.sys.UseCgroupFD || flags&syscall.CLONE_NEWTIME != 0 { // for clone3
		flags &^= syscall.CLONE_PARENT_SETTID | syscall.CLONE_CLEAR_SIGHAND // with no place to store it; every child's
	} else {
		flags &= math.MaxUint32 // clone takes no more
	}
	// Every child has these, or they say nothing without a place to store it.
	flags &^= syscall.CLONE_VM | syscall.CLONE_VFORK | syscall.CLONE_PIDFD |
		syscall.CLONE_CHILD_SETTID | syscall.CLONE_CHILD_CLEARTID
	for _, not := range []struct {
		flags  uint64
		reason string
	}{
		{syscall.CLONE_FS | syscall.CLONE_FILES | syscall.CLONE_SIGHAND, "what the child does to itself would be done to the parent"},
		{syscall.CLONE_PARENT, "no one here could wait for the child"},
		{syscall.CLONE_SETTLS, "there is no such memory"},
		{0xff &^ syscall.CLONE_NEWTIME, "no one here could wait for a child with another signal at its end"},
	} {
		if flags&not.flags != 0 {
			m.refuse("Cloneflags", not.reason, syscall.EINVAL)
			return
		}
	}
	const given = namespaces | syscall.CLONE_UNTRACED | syscall.CLONE_PTRACE | syscall.CLONE_SYSVSEM | syscall.CLONE_IO
	if flags&^given != 0 && m.err == nil {
		m.err = syscall.EINVAL // the kernel's own, beside CLONE_PIDFD
	}
	put(m, "Cloneflags", &m.attr.Cloneflags, uintptr(flags&given))
}

// startError is the standard's error where there is no Attr: the errno alone.
func (c *Cmd) startError(ctx context.Context, err error) error {
	var e *vspawn.Error
	errors.As(err, &e)
	if c.SysProcAttr != nil && c.SysProcAttr.PidFD != nil && e != nil && born(e) {
		*c.SysProcAttr.PidFD = -1 // its number was that of the child, which is gone
	}
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return ctx.Err()
	}
	op, path := "fork/exec", c.Path
	switch {
	case c.Attr != nil:
		if e != nil && e.Step == "chdir" && c.Dir != "" {
			op, path = "chdir", c.Dir
		}
	case c.SysProcAttr == nil && c.Dir != "":
		// os/exec looks first, and we only when it has failed.
		if _, statErr := os.Stat(c.Dir); statErr != nil {
			op, path, err = "chdir", c.Dir, errors.Unwrap(statErr)
		}
	}
	if errno := syscall.Errno(0); c.Attr == nil && e != nil && errors.As(err, &errno) {
		err = errno
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// born tells whether a start failed in the child.
func born(e *vspawn.Error) bool {
	return !slices.Contains([]string{"clone", "clone3", "start", "socketpair", "pidfd_open", "pipe2", "fcntl"}, e.Step) || e.Step == "fcntl" && e.Field != ""
}
