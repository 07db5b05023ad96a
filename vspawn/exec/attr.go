//go:build linux && (amd64 || arm64 || riscv64)

package exec

import (
	"os"
	"reflect"
	"slices"
	"sync"
	"syscall"

	"github.com/vspawn/vspawn/vspawn"
)

// plan is what Start starts. A nil env is the parent's.
func (c *Cmd) plan(fds []int, env []string) (*vspawn.Plan, error) {
	argv := c.Args
	if len(argv) == 0 {
		argv = []string{c.Path}
	}
	if c.Attr == nil && c.SysProcAttr == nil && c.Dir == "" && len(fds) == 3 {
		plan, err := plainPlan([3]int(fds))
		if err != nil {
			return nil, err
		}
		return plan.For(c.Path, argv, env)
	}
	attr, err := c.attr(fds, env)
	if err != nil {
		return nil, err
	}
	return vspawn.Compile(c.Path, argv, attr)
}

// plain keeps plans, since most commands differ in the program alone.
var plain struct {
	sync.Mutex
	plans map[plainKey]*vspawn.Plan
}

// A plainKey is what the plan of a plain command depends on: the descriptors,
// and whether the limit of them is still the runtime's.
type plainKey struct {
	fds   [3]int
	limit syscall.Rlimit
}

const plainLimit = 64 // how many are kept

func plainPlan(fds [3]int) (*vspawn.Plan, error) {
	key := plainKey{fds: fds}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &key.limit); err != nil {
		return nil, os.NewSyscallError("getrlimit", err)
	}
	plain.Lock()
	defer plain.Unlock()
	if p := plain.plans[key]; p != nil {
		return p, nil
	}
	p, err := vspawn.Compile("/", nil, &vspawn.Attr{
		Env: []string{}, InheritFiles: true, Files: table(fds[:]), CloseRanges: closedRanges(fds[:], nil)})
	if err != nil {
		return nil, err
	}
	if plain.plans == nil || len(plain.plans) == plainLimit {
		plain.plans = map[plainKey]*vspawn.Plan{}
	}
	plain.plans[key] = p
	return p, nil
}

func table(fds []int) []vspawn.File {
	files := make([]vspawn.File, 0, len(fds))
	for child, fd := range fds {
		if fd != closed {
			files = append(files, vspawn.File{Child: child, Parent: fd})
		}
	}
	return files
}

// closedRanges are the child's descriptors that were asked to be closed and are
// not given to it by others: the parent may have something open there.
func closedRanges(fds []int, others []vspawn.File) (ranges []vspawn.Range) {
	for child, fd := range fds {
		if fd != closed || slices.ContainsFunc(others, func(f vspawn.File) bool { return f.Child == child }) {
			continue
		}
		if n := len(ranges); n > 0 && ranges[n-1].Last == child-1 {
			ranges[n-1].Last = child
			continue
		}
		ranges = append(ranges, vspawn.Range{First: child, Last: child})
	}
	return ranges
}

// attr is all that the child is given.
func (c *Cmd) attr(fds []int, env []string) (*vspawn.Attr, error) {
	a := &vspawn.Attr{InheritFiles: true}
	if c.Attr != nil {
		*a = *c.Attr
		switch {
		case a.Env != nil:
			return nil, &vspawn.AttrError{Field: "Env", Reason: "set in Attr: set that of Cmd"}
		case a.Dir != "":
			return nil, &vspawn.AttrError{Field: "Dir", Reason: "set in Attr: set that of Cmd"}
		}
	}
	a.Env, a.Dir = env, c.Dir
	if a.InheritFiles {
		a.CloseRanges = slices.Concat(a.CloseRanges, closedRanges(fds, a.Files))
	}
	a.Files = slices.Concat(table(fds), a.Files)
	if c.SysProcAttr == nil {
		return a, nil
	}
	m := &mapping{sys: c.SysProcAttr, attr: a, files: len(fds)}
	v := reflect.ValueOf(c.SysProcAttr).Elem()
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			continue
		}
		name := v.Type().Field(i).Name
		to, known := sysProcAttr[name]
		if !known {
			m.refuse(name, "vspawn has nothing for it")
		} else if to != nil {
			to(m)
		}
	}
	return a, m.err
}

// A mapping takes what a SysProcAttr says over into an Attr.
type mapping struct {
	sys   *syscall.SysProcAttr
	attr  *vspawn.Attr
	files int // how many descriptors the standard's fields give
	err   error
}

func (m *mapping) refuse(field, reason string) {
	if m.err == nil {
		m.err = &vspawn.AttrError{Field: "SysProcAttr." + field, Reason: reason}
	}
}

// put sets a field of Attr that the caller has left alone.
func put[T any](m *mapping, field string, to *T, v T) {
	if !reflect.ValueOf(to).Elem().IsZero() {
		m.refuse(field, "contradicts what is set in Attr")
	}
	*to = v
}

// ioctl has the child make one, on a descriptor of its own, as the last thing
// before exec. Until then it has what the parent has open, too: of a number that it
// is not given it must not take that.
func (m *mapping) ioctl(fd int, request, arg uintptr) []vspawn.Syscall {
	if !slices.ContainsFunc(m.attr.Files, func(f vspawn.File) bool { return f.Child == fd }) {
		fd = closed
	}
	return []vspawn.Syscall{{Name: "ioctl", Nr: syscall.SYS_IOCTL, Args: [6]uintptr{uintptr(fd), request, arg}}}
}

// sysProcAttr says for each field of syscall.SysProcAttr that is not zero what
// it is in an Attr. nil is for one that another takes along.
var sysProcAttr = map[string]func(m *mapping){
	"Chroot":     func(m *mapping) { put(m, "Chroot", &m.attr.Chroot, m.sys.Chroot) },
	"Credential": (*mapping).credential,
	"Ptrace":     func(m *mapping) { m.attr.Ptrace = true },
	"Setsid":     func(m *mapping) { m.attr.Setsid = true },
	"Setpgid":    func(m *mapping) { put(m, "Pgid", &m.attr.Pgid, &m.sys.Pgid) },
	"Setctty": func(m *mapping) {
		switch {
		case m.sys.Foreground:
			m.refuse("Setctty", "both Setctty and Foreground set in SysProcAttr")
		case m.sys.Ctty < 0 || m.sys.Ctty >= m.files:
			m.refuse("Setctty", "Setctty set but Ctty not valid in child")
		}
		const steal = 1
		m.attr.Syscalls = slices.Concat(m.attr.Syscalls, m.ioctl(m.sys.Ctty, syscall.TIOCSCTTY, steal))
	},
	"Noctty": func(m *mapping) { // before Setctty
		m.attr.Syscalls = slices.Concat(m.ioctl(0, syscall.TIOCNOTTY, 0), m.attr.Syscalls)
	},
	"Ctty": nil,
	"Foreground": func(m *mapping) {
		m.attr.Foreground = true
		put(m, "Foreground", &m.attr.TTY, &m.sys.Ctty)
		if !m.sys.Setpgid {
			put(m, "Foreground", &m.attr.Pgid, &m.sys.Pgid)
		}
	},
	"Pgid":       nil,
	"Pdeathsig":  func(m *mapping) { put(m, "Pdeathsig", &m.attr.Pdeathsig, m.sys.Pdeathsig) },
	"Cloneflags": func(m *mapping) { put(m, "Cloneflags", &m.attr.Cloneflags, m.sys.Cloneflags) },
	"Unshareflags": func(m *mapping) {
		flags := m.sys.Unshareflags
		if m.sys.UidMappings != nil || m.sys.GidMappings != nil {
			// The parent writes the maps, before the child goes on.
			m.attr.Cloneflags |= flags & syscall.CLONE_NEWUSER
			flags &^= syscall.CLONE_NEWUSER
		}
		put(m, "Unshareflags", &m.attr.Unshareflags, flags)
		m.attr.PrivateMounts = m.attr.PrivateMounts || flags&syscall.CLONE_NEWNS != 0
	},
	"UidMappings": func(m *mapping) { put(m, "UidMappings", &m.attr.UIDMap, idMap(m.sys.UidMappings)) },
	"GidMappings": func(m *mapping) {
		put(m, "GidMappings", &m.attr.GIDMap, idMap(m.sys.GidMappings))
		m.attr.AllowSetgroups = m.sys.GidMappingsEnableSetgroups
	},
	"GidMappingsEnableSetgroups": nil,
	"AmbientCaps": func(m *mapping) {
		for _, c := range m.sys.AmbientCaps {
			if c > 63 {
				m.refuse("AmbientCaps", "there is no capability of that number")
				return
			}
			m.attr.Ambient |= vspawn.Caps(int(c))
		}
	},
	"UseCgroupFD": func(m *mapping) { put(m, "CgroupFD", &m.attr.Cgroup, &m.sys.CgroupFD) },
	"CgroupFD":    nil,
	"PidFD":       nil, // Start sets it
}

func (m *mapping) credential() {
	c := m.sys.Credential
	put(m, "Credential", &m.attr.UID, vspawn.Ptr(int(c.Uid)))
	put(m, "Credential", &m.attr.GID, vspawn.Ptr(int(c.Gid)))
	// In a user namespace that denies setgroups there is nothing to drop.
	denied := m.sys.GidMappings != nil && !m.sys.GidMappingsEnableSetgroups && len(c.Groups) == 0
	if c.NoSetGroups || denied {
		m.attr.KeepGroups = true
		return
	}
	groups := make([]int, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = int(g)
	}
	put(m, "Credential", &m.attr.Groups, groups)
}

func idMap(list []syscall.SysProcIDMap) []vspawn.IDMap {
	maps := make([]vspawn.IDMap, len(list))
	for i, m := range list {
		maps[i] = vspawn.IDMap{Inside: m.ContainerID, Outside: m.HostID, Size: m.Size}
	}
	return maps
}
