//go:build linux

package tests

import (
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// A soakAttr is something that a child can be given. Of those that share a part no two
// go together.
type soakAttr struct {
	name  string
	parts []string
	set   func(c *soakStart, a *vspawn.Attr)
	// without is what a start says where this can't be had: it is then left out.
	without []unix.Errno
	// direct does not go with a Cmd, which has a field of its own for it or starts
	// from another thread.
	direct bool
	// deaf programs may not be ended by any other signal than SIGKILL.
	deaf bool
}

// noRight is what those say who may not.
var noRight = []unix.Errno{unix.EPERM, unix.EACCES}

// lacking is what kernels without something say, and those who may not.
func lacking(others ...unix.Errno) []unix.Errno {
	return append(append([]unix.Errno{unix.ENOSYS, unix.EINVAL}, noRight...), others...)
}

// soakAttrs are all but these: Syscalls, which are the caller's own; a new network
// namespace, whose end the kernel puts off until there are a thousand; and PivotRoot,
// for want of another root.
var soakAttrs = []soakAttr{
	{name: "environment", direct: true, set: func(_ *soakStart, a *vspawn.Attr) { a.Env = []string{"A=1", "B=2"} }},
	{name: "directory", parts: []string{"dir"}, direct: true, set: func(_ *soakStart, a *vspawn.Attr) { a.Dir = "/" }},
	{name: "directory by descriptor", parts: []string{"dir"}, direct: true,
		set: func(c *soakStart, a *vspawn.Attr) { a.DirFD = c.open("/") }},
	{name: "program by descriptor", parts: []string{"program"}, direct: true,
		set: func(c *soakStart, a *vspawn.Attr) { c.byFD = true }, without: []unix.Errno{unix.ENOENT}},
	{name: "swapped files", parts: []string{"files"}, direct: true, set: func(_ *soakStart, a *vspawn.Attr) {
		a.Files = []vspawn.File{{Child: 1, Parent: vspawn.FD(2)}, {Child: 2, Parent: vspawn.FD(1)},
			{Child: 9, Parent: vspawn.FD(2)}}
	}},
	{name: "opened file", parts: []string{"files"}, direct: true, set: func(_ *soakStart, a *vspawn.Attr) {
		a.Files = []vspawn.File{{Child: 0, Path: os.DevNull}, {Child: 40, Parent: vspawn.FD(2)}}
	}},
	{name: "inherited files", parts: []string{"files"}, set: func(_ *soakStart, a *vspawn.Attr) {
		a.InheritFiles, a.CloseRanges = true, []vspawn.Range{{First: 200, NoEnd: true}}
	}},
	{name: "session", parts: []string{"session"}, set: func(_ *soakStart, a *vspawn.Attr) { a.Setsid = true }},
	{name: "group", parts: []string{"session"}, set: func(_ *soakStart, a *vspawn.Attr) { a.Pgid = vspawn.Ptr(0) }},
	{name: "terminal", parts: []string{"session"}, set: func(c *soakStart, a *vspawn.Attr) {
		a.Setsid, a.TTY, a.ControllingTTY, a.Foreground = true, c.terminal(), true, true
	}, without: []unix.Errno{unix.ENOENT}},
	{name: "umask", set: func(_ *soakStart, a *vspawn.Attr) { a.Umask = vspawn.Ptr(0o77) }},
	{name: "limits", set: func(_ *soakStart, a *vspawn.Attr) {
		a.Rlimits = []vspawn.Rlimit{{Resource: unix.RLIMIT_CORE}, {Resource: unix.RLIMIT_NOFILE, Soft: 64, Hard: 64}}
	}},
	{name: "signals", parts: []string{"signals"}, deaf: true, set: func(_ *soakStart, a *vspawn.Attr) {
		a.SignalMask = []syscall.Signal{unix.SIGUSR1, unix.SIGTERM}
		a.IgnoreSignals, a.DefaultSignals = []syscall.Signal{unix.SIGINT}, []syscall.Signal{unix.SIGHUP}
	}},
	{name: "scheduling", set: func(_ *soakStart, a *vspawn.Attr) {
		a.Scheduler, a.Nice = &vspawn.Scheduler{Policy: unix.SCHED_BATCH}, vspawn.Ptr(19)
		a.IOPriority = &vspawn.IOPriority{Class: 2, Level: 7}
		a.Affinity, a.TimerSlack = []int{0, 1, 2, 3, 4, 5, 6, 7}, time.Millisecond
	}},
	{name: "core scheduling", set: func(_ *soakStart, a *vspawn.Attr) { a.CoreSched = true }, without: lacking(unix.ENODEV)},
	{name: "OOM score", set: func(_ *soakStart, a *vspawn.Attr) { a.OOMScoreAdj = vspawn.Ptr(500) }},
	{name: "personality", set: func(_ *soakStart, a *vspawn.Attr) { a.Personality = vspawn.Ptr[uintptr](0) }},
	{name: "keyring", set: func(_ *soakStart, a *vspawn.Attr) { a.NewKeyring = true },
		without: lacking(unix.EDQUOT)},
	{name: "root", set: func(_ *soakStart, a *vspawn.Attr) { a.Chroot = "/" }, without: noRight},
	{name: "another user", parts: []string{"ids"}, set: func(_ *soakStart, a *vspawn.Attr) {
		a.UID, a.GID, a.Groups = vspawn.Ptr(nobody), vspawn.Ptr(nobody), []int{4, 5}
	}, without: noRight},
	{name: "capabilities", parts: []string{"ids"}, set: func(_ *soakStart, a *vspawn.Attr) {
		set := vspawn.Caps(unix.CAP_NET_BIND_SERVICE)
		a.KeepCaps, a.Securebits, a.Bounding = true, vspawn.Ptr(secbitNoroot), vspawn.Ptr(set)
		a.Capabilities, a.Ambient = &vspawn.Capabilities{Permitted: set, Inheritable: set}, set
	}, without: noRight},
	{name: "id maps", parts: []string{"ids", "namespaces", "program"}, set: func(_ *soakStart, a *vspawn.Attr) {
		a.Cloneflags, a.UIDMap, a.GIDMap = unix.CLONE_NEWUSER, ownID(os.Getuid()), ownID(os.Getgid())
	}, without: lacking(unix.ENOSPC)},
	{name: "id maps and a PID namespace", parts: []string{"ids", "namespaces", "program", "death"}, deaf: true,
		set: func(_ *soakStart, a *vspawn.Attr) {
			a.Cloneflags, a.UIDMap = unix.CLONE_NEWUSER|unix.CLONE_NEWPID, ownID(os.Getuid())
			a.Pdeathsig = unix.SIGKILL
		}, without: lacking(unix.ENOSPC)},
	{name: "namespaces", parts: []string{"namespaces"}, deaf: true, set: func(_ *soakStart, a *vspawn.Attr) {
		a.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
		a.PrivateMounts, a.Hostname = true, "soak"
	}, without: lacking(unix.ENOSPC)},
	{name: "mounts", parts: []string{"namespaces", "program"}, set: func(c *soakStart, a *vspawn.Attr) {
		a.Unshareflags = unix.CLONE_NEWNS
		a.Mounts = []vspawn.Mount{{Source: "soak", Target: c.s.dir, Type: "tmpfs"}}
	}, without: lacking(unix.ENOSPC, unix.ENODEV)},
	{name: "another's namespace", parts: []string{"namespaces"}, set: func(c *soakStart, a *vspawn.Attr) {
		a.Setns = []vspawn.Namespace{{FD: c.open("/proc/self/ns/uts")}}
	}, without: lacking(unix.ENOENT)},
	{name: "no new privileges", set: func(_ *soakStart, a *vspawn.Attr) { a.NoNewPrivs = true }},
	{name: "Landlock", set: func(_ *soakStart, a *vspawn.Attr) {
		a.NoNewPrivs = true
		a.Landlock = &vspawn.Landlock{FS: unix.LANDLOCK_ACCESS_FS_MAKE_SOCK,
			Paths: []vspawn.LandlockPath{{Path: "/", Allow: unix.LANDLOCK_ACCESS_FS_MAKE_SOCK}}}
	}, without: lacking(unix.EOPNOTSUPP)},
	{name: "seccomp", set: func(_ *soakStart, a *vspawn.Attr) {
		a.NoNewPrivs, a.Seccomp = true, deny(unix.SYS_GETSID, errFilter)
	}, without: lacking()},
	{name: "parent-death signal", parts: []string{"death"}, set: func(_ *soakStart, a *vspawn.Attr) { a.Pdeathsig = unix.SIGKILL }},
	{name: "death with the parent", parts: []string{"death", "traced", "reaped by the kernel"}, direct: true,
		set: func(_ *soakStart, a *vspawn.Attr) { a.DieWithParent, a.NoNewPrivs = true, true }},
	{name: "traced", parts: []string{"traced"}, direct: true,
		set: func(c *soakStart, a *vspawn.Attr) { a.Ptrace = true }, without: lacking()},
	{name: "stopped", parts: []string{"traced"}, direct: true,
		set: func(c *soakStart, a *vspawn.Attr) { a.StartStopped = true }, without: lacking()},
	{name: "cgroup", set: func(c *soakStart, a *vspawn.Attr) {
		if c.s.cgroup != "" {
			a.Cgroup = c.open(c.s.cgroup)
		}
	}, without: lacking()},
}

// open opens a file for the length of a start.
func (c *soakStart) open(path string) vspawn.Descriptor {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	return c.keep(fd, path, err)
}

// keep has a descriptor closed when the start and its child are over.
func (c *soakStart) keep(fd int, name string, err error) vspawn.Descriptor {
	if err != nil {
		c.setUp = &os.PathError{Op: "open", Path: name, Err: err}
		return vspawn.FD(0)
	}
	f := os.NewFile(uintptr(fd), name)
	c.files = append(c.files, f)
	return f
}

// terminal makes one that lives as long as the child.
func (c *soakStart) terminal() vspawn.Descriptor {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	master, err := unix.Open("/dev/ptmx", flags, 0)
	if c.keep(master, "/dev/ptmx", err); err != nil {
		return vspawn.FD(0)
	}
	n := 0
	if err = unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err == nil {
		n, err = unix.IoctlGetInt(master, unix.TIOCGPTN)
	}
	path, tty := "/dev/pts/"+strconv.Itoa(n), -1
	if err == nil {
		tty, err = unix.Open(path, flags, 0)
	}
	return c.keep(tty, path, err)
}
