package exec

import (
	"errors"
	"math"
	"os"
	"reflect"
	"slices"
	"syscall"

	"github.com/vspawn/vspawn/vspawn"
)

// A mapping takes what a SysProcAttr says over into an Attr.
type mapping struct {
	cmd    *Cmd
	sys    *syscall.SysProcAttr
	attr   *vspawn.Attr
	fds    []int         // what the standard's fields give
	others []vspawn.File // what Attr does
	ask    bool          // look for descriptors that are not open
	err    error
}

// A refusal is an error of this package's own, with the errno that the kernel
// has for it.
type refusal struct {
	*vspawn.AttrError
	errno syscall.Errno
}

func (r *refusal) Unwrap() []error { return []error{r.AttrError, r.errno} }

func (m *mapping) refuse(field, reason string, errno syscall.Errno) {
	if m.err == nil {
		m.err = &refusal{&vspawn.AttrError{Field: "SysProcAttr." + field, Reason: reason}, errno}
	}
}

// put sets a field of Attr that the caller has left alone.
func put[T any](m *mapping, field string, to *T, v T) {
	if !reflect.ValueOf(to).Elem().IsZero() {
		m.refuse(field, "contradicts what is set in Attr", syscall.EINVAL)
	}
	*to = v
}

// call has the child make a system call before the place of an attribute.
func (m *mapping) call(before, name string, nr uintptr, args ...uintptr) {
	s := vspawn.Syscall{Before: before, Name: name, Nr: nr}
	copy(s.Args[:], args)
	m.attr.Syscalls = slices.Concat(m.attr.Syscalls, []vspawn.Syscall{s})
}

// bad is a descriptor that no process has.
const bad = math.MaxUint32

func isOpen(fd int) bool {
	_, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	return errno == 0
}

// passable is fds without those that are not open: the child that is to have
// one fails, as it does under os/exec, where it would get it.
func (m *mapping) passable() []int {
	if !m.ask {
		return m.fds
	}
	fds := slices.Clone(m.fds)
	for i, fd := range fds {
		if fd != closed && !isOpen(fd) {
			fds[i] = closed
			m.call("Ptrace", "fcntl", syscall.SYS_FCNTL, bad, syscall.F_GETFD)
		}
	}
	return fds
}

// child is a descriptor of the child's as its own last calls may use it. What is
// closed for its program is not closed yet, and may be the parent's.
func (m *mapping) child(fd int) uintptr {
	n := int(uint32(fd)) // all that the kernel takes
	given := func(f vspawn.File) bool { return f.Child == n }
	if n < len(m.fds) && m.fds[n] == closed && !slices.ContainsFunc(m.others, given) {
		return bad
	}
	return uintptr(n)
}

// sysProcAttr says for each field of syscall.SysProcAttr that is not zero what
// it is in an Attr. nil is for one that another takes along. What Attr would
// refuse becomes a system call, at its place, for the kernel to refuse.
var sysProcAttr = map[string]func(m *mapping){
	"Chroot":     func(m *mapping) { put(m, "Chroot", &m.attr.Chroot, m.sys.Chroot) },
	"Credential": (*mapping).credential,
	"Ptrace":     func(m *mapping) { m.attr.Ptrace = true },
	"Setsid":     func(m *mapping) { m.attr.Setsid = true },
	"Setpgid": func(m *mapping) {
		if !m.sys.Foreground {
			m.setpgid("Setpgid")
		}
	},
	"Setctty": func(m *mapping) {
		const steal = 1
		m.call("", "ioctl", syscall.SYS_IOCTL, m.child(m.sys.Ctty), syscall.TIOCSCTTY, steal)
	},
	"Noctty": func(m *mapping) { // before Setctty
		after := m.attr.Syscalls
		m.attr.Syscalls = nil
		m.call("", "ioctl", syscall.SYS_IOCTL, m.child(0), syscall.TIOCNOTTY)
		m.attr.Syscalls = slices.Concat(m.attr.Syscalls, after)
	},
	"Ctty":       nil,
	"Foreground": (*mapping).foreground,
	"Pgid":       nil,
	"Pdeathsig": func(m *mapping) {
		if s := m.sys.Pdeathsig; s < 1 || s > 64 {
			m.call("Pdeathsig", "prctl", syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(s))
			return
		}
		put(m, "Pdeathsig", &m.attr.Pdeathsig, m.sys.Pdeathsig)
	},
	"Cloneflags":   (*mapping).cloneflags,
	"Unshareflags": (*mapping).unshareflags,
	"UidMappings":  func(m *mapping) { mapIDs(m, "UidMappings", &m.attr.UIDMap, m.sys.UidMappings) },
	"GidMappings": func(m *mapping) {
		mapIDs(m, "GidMappings", &m.attr.GIDMap, m.sys.GidMappings)
		m.attr.AllowSetgroups = m.attr.GIDMap != nil && m.sys.GidMappingsEnableSetgroups
	},
	"GidMappingsEnableSetgroups": nil,
	"AmbientCaps":                (*mapping).ambientCaps,
	"UseCgroupFD":                (*mapping).cgroup,
	"CgroupFD":                   nil,
	"PidFD":                      nil, // Start sets it
}

// checkSetctty is what os/exec says before it starts anything.
func checkSetctty(sys *syscall.SysProcAttr, files int) error {
	switch {
	case sys.Setctty && sys.Foreground:
		return errors.New("both Setctty and Foreground set in SysProcAttr")
	case sys.Setctty && sys.Ctty >= files:
		//lint:ignore ST1005 os/exec has it so
		return errors.New("Setctty set but Ctty not valid in child")
	}
	return nil
}

// setpgid tells whether it may succeed.
func (m *mapping) setpgid(field string) bool {
	pgid := int(int32(m.sys.Pgid)) // all that the kernel takes
	apart := m.sys.Cloneflags&syscall.CLONE_NEWPID != 0
	if apart && pgid == 1 {
		pgid = 0 // the child's own number there
	}
	if pgid < 0 || m.sys.Setsid || apart && pgid != 0 { // a session's leader stays in its group
		m.call("TTY", "setpgid", syscall.SYS_SETPGID, 0, uintptr(pgid))
		return false
	}
	put(m, field, &m.attr.Pgid, &pgid)
	return true
}

func (m *mapping) foreground() {
	if !m.setpgid("Foreground") {
		return
	}
	tty := int(int32(m.sys.Ctty))
	if tty < 0 || m.ask && !isOpen(tty) {
		m.call("Scheduler", "ioctl", syscall.SYS_IOCTL, bad, syscall.TIOCSPGRP) // the first behind TTY
		return
	}
	m.attr.Foreground = true
	put[vspawn.Descriptor](m, "Foreground", &m.attr.TTY, vspawn.FD(tty))
}

func (m *mapping) unshareflags() {
	flags := m.sys.Unshareflags
	others := flags &^ namespaces
	if m.newUser() {
		others &^= syscall.CLONE_VM // os/exec forks then, and the child has memory of its own
	}
	if others != 0 {
		m.call("Unshareflags", "unshare", syscall.SYS_UNSHARE, others)
	}
	flags &= namespaces
	if (m.sys.UidMappings != nil || m.sys.GidMappings != nil) && !m.nested() {
		// The parent writes the maps, before the child goes on.
		if m.sys.Cloneflags&namespaces != 0 && flags&syscall.CLONE_NEWUSER != 0 && !mayUnshare() && m.err == nil {
			m.err = syscall.EPERM // those of Cloneflags would not lie in it
		}
		m.attr.Cloneflags |= flags & syscall.CLONE_NEWUSER
		flags &^= syscall.CLONE_NEWUSER
	}
	put(m, "Unshareflags", &m.attr.Unshareflags, flags)
	m.attr.PrivateMounts = m.attr.PrivateMounts || flags&syscall.CLONE_NEWNS != 0
}

// mayUnshare tells whether the caller may make namespaces that are not in a
// user namespace of its own.
func mayUnshare() bool {
	effective, _, err := capget()
	return err != nil || effective&vspawn.Caps(capSysAdmin) != 0
}

// newUser tells whether the child gets a user namespace of its own.
func (m *mapping) newUser() bool {
	return (m.sys.Cloneflags|m.sys.Unshareflags|m.attr.Cloneflags|m.attr.Unshareflags)&syscall.CLONE_NEWUSER != 0
}

// nested tells of a user namespace in another, which os/exec gives no maps: so
// the kernel refuses it.
func (m *mapping) nested() bool {
	return m.sys.Cloneflags&m.sys.Unshareflags&syscall.CLONE_NEWUSER != 0
}

func mapIDs(m *mapping, field string, to *[]vspawn.IDMap, list []syscall.SysProcIDMap) {
	if !m.newUser() {
		m.refuse(field, "needs CLONE_NEWUSER in Cloneflags: os/exec would wait for ever", syscall.EPERM)
	}
	if !m.nested() {
		put(m, field, to, idMap(list))
	}
}

// idMap is a map. One that the kernel refuses is the empty one, which it
// refuses in the same place.
func idMap(list []syscall.SysProcIDMap) []vspawn.IDMap {
	maps := make([]vspawn.IDMap, len(list))
	for i, m := range list {
		maps[i] = vspawn.IDMap{Inside: id(m.ContainerID), Outside: id(m.HostID), Size: id(m.Size)}
		for _, first := range []int{maps[i].Inside, maps[i].Outside} {
			if first < 0 || maps[i].Size < 1 || int64(first)+int64(maps[i].Size) > math.MaxUint32 {
				return []vspawn.IDMap{}
			}
		}
	}
	return maps
}

// id is what the kernel makes of a decimal number.
func id(n int) int {
	if n < 0 {
		return -1
	}
	return int(uint32(n))
}

func (m *mapping) cgroup() {
	fd := m.sys.CgroupFD
	switch {
	case fd < 0 || fd > math.MaxInt32:
		if m.err == nil {
			m.err = syscall.EINVAL
		}
		return
	case m.ask && !isOpen(fd):
		null, err := os.Open(os.DevNull) // no cgroup either
		if err != nil {
			m.err = err
			return
		}
		m.cmd.childEnds = append(m.cmd.childEnds, null)
		fd = int(null.Fd())
	}
	put[vspawn.Descriptor](m, "CgroupFD", &m.attr.Cgroup, vspawn.FD(fd))
}
