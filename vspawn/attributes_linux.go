package vspawn

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// An attribute is one entry of the list of all that a child can be given.
type attribute struct {
	field string                  // the field of Attr that stands for it
	why   string                  // why it has its place in the order
	add   func(c *compiler) error // checks it, and appends the child's system calls
}

// attributes is the list, in the order in which the child applies it.
var attributes = []attribute{
	{"Cgroup", "part of clone3 itself", addCgroup},
	{"Cloneflags", "part of clone itself", addNamespaces},
	{"UIDMap", "before the calls that need an id, or a capability, in the new namespace", addIDMaps},
	{"DefaultSignals", "early: no handler of the parent's may run once the mask is lifted", addDispositions},
	{"Setsid", "before the terminal, which only a session leader can take", addSetsid},
	{"Pgid", "before the group is made the foreground", addPgid},
	{"TTY", "while the parent's descriptor of it is still open", addTTY},
	{"Scheduler", "while privileged; before Nice, which it sets as well", addScheduler},
	{"Nice", "while privileged, to lower it", addNice},
	{"IOPriority", "while privileged", addIOPriority},
	{"Affinity", "while privileged", addAffinity},
	{"CoreSched", "anywhere before exec", addCoreSched},
	{"TimerSlack", "anywhere before exec", addTimerSlack},
	{"OOMScoreAdj", "while privileged, and while /proc is the parent's", addOOMScoreAdj},
	{"Personality", "before exec, which heeds it", addPersonality},
	{"NewKeyring", "before the credentials: the keyring is the parent's user's", addKeyring},
	{"Setns", "while privileged, and while the parent's descriptors are still open", addSetns},
	{"Unshareflags", "after Setns, so that the new namespaces lie in those entered", addUnshare},
	{"Hostname", "in the new UTS namespace, while privileged", addHostname},
	{"Mounts", "in the new mount namespace, while privileged", addMounts},
	{"PivotRoot", "after Mounts, which may make its mount point", addPivotRoot},
	{"Chroot", "while privileged, and in the new root", addChroot},
	{"Umask", "before Path of Files creates one", addUmask},
	{"Files", "after the last use of the parent's descriptors by their own numbers", addFiles},
	{"Rlimits", "while privileged, to raise a hard limit", addRlimits},
	{"Bounding", "while privileged", addBounding},
	{"Securebits", "before UID, on which some of them bear", addSecurebits},
	{"KeepCaps", "before UID, which would drop the capabilities", addKeepCaps},
	{"Groups", "while privileged", addGroups},
	{"GID", "before UID, which gives up the right to change it", addGID},
	{"UID", "last of the ids", addUID},
	{"Dir", "in the new root, and with the child's own rights", addDir},
	{"Files.Path", "relative to Dir, and with the child's own rights", addOpens},
	{"NoNewPrivs", "before Landlock and Seccomp, to which it is the key", addNoNewPrivs},
	{"Landlock", "after Files.Path, which it would restrict", addLandlock},
	{"Capabilities", "after UID, which changes them, and after Landlock, which may need one", addCapabilities},
	{"Pdeathsig", "after the credentials, whose change clears it", addPdeathsig},
	{"Ptrace", "late: the tracer sees no more than the exec", addPtrace},
	{"Rlimits.NOFILE", "after the last descriptor is made, unless it takes privileges", addNofile},
	{"SignalMask", "behind what can fail: a signal that was pending may end the child from here on, and hide it", addMask},
	{"Seccomp", "last: the filter needs to let pass no more than execve", addSeccomp},
}

func addCgroup(c *compiler) error {
	if c.attr.Cgroup == nil {
		return nil
	}
	c.plan.cgroup = *c.attr.Cgroup
	c.plan.cloneFlags |= unix.CLONE_INTO_CGROUP
	return nil
}

const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWTIME

func addNamespaces(c *compiler) error {
	if other := uint64(c.attr.Cloneflags) &^ namespaces; other != 0 {
		return refuse("Cloneflags", "%#x is not a flag of a new namespace (CLONE_NEW…)", other)
	}
	c.plan.cloneFlags |= uint64(c.attr.Cloneflags)
	return nil
}

// addIDMaps has the child report itself on a socket and wait for the answer,
// while a goroutine of the parent's writes the maps.
func addIDMaps(c *compiler) error {
	a := c.attr
	if a.AllowSetgroups && a.GIDMap == nil {
		return refuse("AllowSetgroups", "set without a GIDMap")
	}
	if a.UIDMap == nil && a.GIDMap == nil {
		return nil
	}
	for _, m := range []struct {
		field string
		list  []IDMap
	}{{"UIDMap", a.UIDMap}, {"GIDMap", a.GIDMap}} {
		if m.list != nil && a.Cloneflags&unix.CLONE_NEWUSER == 0 {
			return refuse(m.field, "needs CLONE_NEWUSER in Cloneflags")
		}
		for i, l := range m.list {
			if !validID(l.Inside) || !validID(l.Outside) || l.Size < 1 || !validID(l.Inside+l.Size-1) || !validID(l.Outside+l.Size-1) {
				return refuse(index(m.field, i), "%d ids from %d on as %d: not a range of ids", l.Size, l.Outside, l.Inside)
			}
		}
	}
	c.plan.maps = newMapFiles(a)
	word := arg{kind: argWord, val: wordSync}
	sock := arg{kind: argSync}
	c.op(op{field: "UIDMap", name: "write", nr: unix.SYS_WRITE, args: []arg{sock, word, dec(1)}})
	c.op(op{field: "UIDMap", name: "read", nr: unix.SYS_READ, args: []arg{sock, word, dec(1)}, flags: asm.Expect, want: dec(1)})
	return nil
}

func addDispositions(c *compiler) error {
	c.op(op{kind: opResetHandlers, field: "DefaultSignals", name: "rt_sigaction"})
	seen := map[syscall.Signal]bool{}
	for _, list := range []struct {
		field   string
		signals []syscall.Signal
		handler uint64
		text    string
	}{
		{"DefaultSignals", c.attr.DefaultSignals, sigDfl, "{sa_handler=SIG_DFL}"},
		{"IgnoreSignals", c.attr.IgnoreSignals, sigIgn, "{sa_handler=SIG_IGN}"},
	} {
		for i, s := range list.signals {
			if err := checkSignal(index(list.field, i), s); err != nil {
				return err
			}
			if seen[s] {
				return refuse(index(list.field, i), "%s is named twice", unix.SignalName(s))
			}
			seen[s] = true
			c.op(sigaction(c, list.field, s, list.handler, list.text))
		}
	}
	return nil
}

func addSetsid(c *compiler) error {
	if c.attr.Setsid {
		c.op(op{field: "Setsid", name: "setsid", nr: unix.SYS_SETSID})
	}
	return nil
}

func addPgid(c *compiler) error {
	a := c.attr
	switch {
	case a.Pgid == nil:
	case *a.Pgid < 0:
		return refuse("Pgid", "%d is negative", *a.Pgid)
	case a.Setsid && *a.Pgid != 0:
		return refuse("Pgid", "%d contradicts Setsid: a session leader is in its own group", *a.Pgid)
	case a.Setsid: // done by it
	default:
		c.op(op{field: "Pgid", name: "setpgid", nr: unix.SYS_SETPGID, args: []arg{dec(0), dec(*a.Pgid)}})
	}
	return nil
}

func addTTY(c *compiler) error {
	a := c.attr
	switch {
	case a.TTY == nil && a.Foreground:
		return refuse("Foreground", "set without a TTY")
	case a.TTY == nil && a.ControllingTTY:
		return refuse("ControllingTTY", "set without a TTY")
	case a.TTY == nil:
		return nil
	case !a.Foreground && !a.ControllingTTY:
		return refuse("TTY", "set without ControllingTTY or Foreground, which say what for")
	case a.ControllingTTY && !a.Setsid:
		return refuse("ControllingTTY", "set without Setsid: only a session leader can have one")
	case a.Setsid && a.Foreground && !a.ControllingTTY:
		return refuse("Foreground", "contradicts Setsid without ControllingTTY: a new session has no terminal")
	}
	if a.ControllingTTY {
		c.op(op{field: "ControllingTTY", name: "ioctl", nr: unix.SYS_IOCTL,
			args: []arg{dec(*a.TTY), name("TIOCSCTTY", unix.TIOCSCTTY), dec(0)}})
	}
	if a.Foreground {
		// SIGTTOU, which a background process gets for this, is blocked.
		c.op(op{field: "Foreground", name: "getpgid", nr: unix.SYS_GETPGID, args: []arg{dec(0)}, out: arg{kind: argWord, val: wordPgid}})
		c.op(op{field: "Foreground", name: "ioctl", nr: unix.SYS_IOCTL,
			args: []arg{dec(*a.TTY), name("TIOCSPGRP", unix.TIOCSPGRP), {kind: argInt32, val: wordPgid}}})
	}
	return nil
}

func addUmask(c *compiler) error {
	if c.attr.Umask == nil {
		return nil
	}
	if *c.attr.Umask&^0o777 != 0 {
		return refuse("Umask", "%#o has bits beyond 0777", *c.attr.Umask)
	}
	c.op(op{field: "Umask", name: "umask", nr: unix.SYS_UMASK, args: []arg{oct(*c.attr.Umask)}})
	return nil
}

func addRlimits(c *compiler) error {
	set := map[int]bool{}
	for i, r := range c.attr.Rlimits {
		field := index("Rlimits", i)
		switch {
		case r.Resource < 0 || r.Resource >= len(rlimitNames):
			return refuse(field, "%d is not a resource", r.Resource)
		case r.Soft > r.Hard:
			return refuse(field, "the soft limit %d is above the hard limit %d", r.Soft, r.Hard)
		case set[r.Resource]:
			return refuse(field, "%s is named twice", rlimitName(r.Resource))
		}
		set[r.Resource] = true
		if r.Resource != unix.RLIMIT_NOFILE || raisesNofile(r) {
			c.rlimit(field, r)
		}
	}
	return nil
}

// addNofile sets the limit of descriptors, if addRlimits has not: to lower it
// takes no privilege, and may not be in the way of Files.
func addNofile(c *compiler) error {
	for i, r := range c.attr.Rlimits {
		if r.Resource == unix.RLIMIT_NOFILE {
			if !raisesNofile(r) {
				c.rlimit(index("Rlimits", i), r)
			}
			return nil
		}
	}
	if r, raised := raisedNofile(); raised {
		c.rlimit("", r)
	}
	return nil
}

func addChroot(c *compiler) error {
	if c.attr.Chroot == "" {
		return nil
	}
	return c.path("Chroot", "chroot", unix.SYS_CHROOT, c.attr.Chroot)
}

func addGroups(c *compiler) error {
	a := c.attr
	switch {
	case a.KeepGroups && a.Groups != nil:
		return refuse("KeepGroups", "contradicts Groups")
	case a.Groups == nil && (a.KeepGroups || a.UID == nil && a.GID == nil):
		return nil
	case len(a.Groups) > 65536:
		return refuse("Groups", "%d groups: the kernel takes 65536 (NGROUPS_MAX)", len(a.Groups))
	}
	list := make([]uint32, len(a.Groups))
	for i, g := range a.Groups {
		if !validID(g) {
			return refuse(index("Groups", i), "%d is not a group id", g)
		}
		list[i] = uint32(g)
	}
	c.plan.credentials = true
	c.op(op{field: "Groups", name: "setgroups", nr: sysSetgroups, args: []arg{dec(len(list)), {val: c.mem.words32(list), show: list}}, object: a.Groups})
	return nil
}

func addGID(c *compiler) error { return c.id("GID", "setresgid", sysSetresgid, c.attr.GID) }
func addUID(c *compiler) error { return c.id("UID", "setresuid", sysSetresuid, c.attr.UID) }

func addDir(c *compiler) error {
	dir := c.attr.Dir
	switch {
	case c.attr.DirFD != nil && dir != "":
		return refuse("DirFD", "contradicts Dir")
	case c.attr.DirFD != nil:
		c.op(op{field: "DirFD", name: "fchdir", nr: unix.SYS_FCHDIR, args: []arg{dec(c.at(*c.attr.DirFD))}, object: *c.attr.DirFD})
		return nil
	case dir == "" && c.attr.Chroot != "":
		dir = "/" // or the working directory would be a way out of the new root
	case dir == "":
		return nil
	}
	return c.path("Dir", "chdir", unix.SYS_CHDIR, dir)
}

// addPdeathsig asks for the parent's pid after it has set the signal: a parent
// that was already dead would never send it.
func addPdeathsig(c *compiler) error {
	s := c.attr.Pdeathsig
	if s == 0 {
		return nil
	}
	if !validSignal(s) {
		return refuse("Pdeathsig", "%d is not a signal", int(s))
	}
	c.plan.pdeathsig = true
	c.op(op{field: "Pdeathsig", name: "prctl", nr: unix.SYS_PRCTL,
		args: []arg{name("PR_SET_PDEATHSIG", unix.PR_SET_PDEATHSIG), sig(s)}})
	if c.attr.Cloneflags&unix.CLONE_NEWPID == 0 { // there the parent has no number
		c.op(op{field: "Pdeathsig", name: "getppid", nr: unix.SYS_GETPPID, flags: asm.Expect, want: dec(os.Getpid())})
	}
	return nil
}

func addMask(c *compiler) error {
	mask := arg{kind: argMask}
	if c.attr.SignalMask != nil {
		var set uint64
		for i, s := range c.attr.SignalMask {
			if err := checkSignal(index("SignalMask", i), s); err != nil {
				return err
			}
			set |= 1 << (s - 1)
		}
		mask = name(signalSetText(c.attr.SignalMask), c.mem.words64([]uint64{set}))
	}
	c.op(op{field: "SignalMask", name: "rt_sigprocmask", nr: unix.SYS_RT_SIGPROCMASK,
		args: []arg{name("SIG_SETMASK", unix.SIG_SETMASK), mask, name("NULL", 0), dec(sigsetSize)}})
	return nil
}

// addSyscalls appends the caller's own that belong before an attribute.
func addSyscalls(c *compiler, field string) {
	for i, s := range c.attr.Syscalls {
		if s.Before != field && (s.Before != "" || field != "SignalMask") {
			continue
		}
		o := op{field: index("Syscalls", i), name: s.Name, nr: s.Nr}
		if o.name == "" {
			o.name = "syscall_" + itoa(int(s.Nr))
		}
		for _, a := range s.Args {
			o.args = append(o.args, name(hex(a), a))
		}
		if s.Tolerate {
			o.flags = asm.Tolerate
		}
		c.op(o)
	}
}

func checkSyscalls(c *compiler) error {
	for i, s := range c.attr.Syscalls {
		known := s.Before == ""
		for _, a := range attributes {
			known = known || a.field == s.Before
		}
		if !known {
			return refuse(index("Syscalls", i), "Before: %q is not a place in the order", s.Before)
		}
	}
	return nil
}
