package vspawn

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWTIME

// shared are other flags of clone that don't touch the parent.
const shared = unix.CLONE_UNTRACED | unix.CLONE_PTRACE | unix.CLONE_SYSVSEM | unix.CLONE_IO

func addNamespaces(c *compiler) error {
	if other := uint64(c.attr.Cloneflags) &^ (namespaces | shared); other != 0 {
		return refuse("Cloneflags", "%#x is not a flag of a new namespace (CLONE_NEW…)", other)
	}
	c.plan.cloneFlags |= uint64(c.attr.Cloneflags)
	if c.attr.Cloneflags&unix.CLONE_NEWUSER != 0 {
		c.plan.newUser, c.plan.credentials = true, true
	}
	return nil
}

func addSetns(c *compiler) error {
	for i, n := range c.attr.Setns {
		field := index("Setns", i)
		if other := uint64(n.Flags) &^ namespaces; other != 0 {
			return refuse(field, "%#x is not a flag of a namespace (CLONE_NEW…)", other)
		}
		switch {
		case n.Pid != 0 && c.attr.Cloneflags&unix.CLONE_NEWPID != 0:
			return refuse(field, "pid %d would be one of the new PID namespace (CLONE_NEWPID): give a pidfd of the process as FD", n.Pid)
		case n.Pid != 0 && n.Flags == 0:
			return refuse(field, "Flags have to say which namespaces of pid %d", n.Pid)
		}
		c.setns(field, c.namespace(i))
	}
	return nil
}

func (c *compiler) setns(field string, n namespace) {
	by := numbered(n.fd)
	if n.pid != 0 {
		c.plan.byPid = field
		c.op(op{field: field, call: sysPidfdOpen, args: []arg{c.int(field, n.pid, "a pid"), dec(0)},
			out: arg{kind: argNext}, object: n})
		by = arg{kind: argResult}
	} else if c.changesNamespaces() {
		n = n.known() // so that the kernel takes no other for it
	}
	c.op(op{field: field, call: sysSetns, args: []arg{by, name(namespaceNames(n.flags), n.flags)}, object: n,
		explain: onError(unix.EUSERS, "a time namespace can't be entered by a child that shares memory: use Cloneflags")})
	if n.flags == 0 || n.flags&unix.CLONE_NEWUSER != 0 {
		c.plan.credentials = true
	}
}

// A namespace is one of Setns: by a process if there is one, else by a descriptor.
type namespace struct {
	fd, pid int
	flags   uintptr
}

// namespace is entry i of Setns.
func (c *compiler) namespace(i int) namespace {
	n := c.attr.Setns[i]
	if n.Pid != 0 {
		return namespace{fd: -1, pid: n.Pid, flags: n.Flags}
	}
	return namespace{fd: c.fd(index("Setns", i), sysSetns, n.FD), flags: n.Flags}
}

// known has the flags of a file that says what it is.
func (n namespace) known() namespace {
	if n.flags == 0 && n.pid == 0 {
		n.flags = kindOf(n.fd)
	}
	return n
}

func (n namespace) String() string {
	if n.pid != 0 {
		return fmt.Sprintf("%s of pid %d", namespaceNames(n.flags), n.pid)
	}
	return fmt.Sprintf("%s of descriptor %d", namespaceNames(n.flags), n.fd)
}

func namespaceNames(flags uintptr) string {
	if flags == 0 {
		return "0"
	}
	return flagNames(uint64(flags))
}

func addUnshare(c *compiler) error {
	flags := c.attr.Unshareflags
	if other := uint64(flags) &^ namespaces; other != 0 {
		return refuse("Unshareflags", "%#x is not a flag of a new namespace (CLONE_NEW…)", other)
	}
	if flags == 0 {
		return nil
	}
	c.op(op{field: "Unshareflags", call: sysUnshare, args: []arg{name(namespaceNames(flags), flags)}})
	if flags&unix.CLONE_NEWUSER != 0 {
		c.plan.credentials = true
	}
	return nil
}

func addHostname(c *compiler) error {
	h := c.attr.Hostname
	switch {
	case h == "":
		return nil
	case len(h) > 64: // __NEW_UTS_LEN
		return refuse("Hostname", "%d bytes: the kernel takes 64", len(h))
	}
	if err := c.apart("Hostname", unix.CLONE_NEWUTS, "it would be the whole machine's"); err != nil {
		return err
	}
	c.op(op{field: "Hostname", call: sysSethostname, args: []arg{c.str("Hostname", h), size(len(h))}, object: h})
	return nil
}

func addMounts(c *compiler) error {
	a := c.attr
	if !a.PrivateMounts && a.Mounts == nil && a.PivotRoot == "" {
		return nil
	}
	field := "PrivateMounts"
	if a.Mounts != nil {
		field = "Mounts"
	} else if a.PivotRoot != "" {
		field = "PivotRoot"
	}
	if err := c.apart(field, unix.CLONE_NEWNS, "it would be the parent's mounts that change"); err != nil {
		return err
	}
	c.mount("PrivateMounts", Mount{Target: "/", Flags: unix.MS_REC | unix.MS_PRIVATE})
	for i, m := range a.Mounts {
		field := index("Mounts", i)
		if m.Target == "" {
			return refuse(field, "no Target")
		}
		if most := os.Getpagesize() - 1; len(m.Data) > most {
			return refuse(field, "%d bytes of Data: the kernel would cut them off behind %d, a page with the NUL", len(m.Data), most)
		}
		c.mount(field, m)
	}
	return nil
}

func (c *compiler) mount(field string, m Mount) {
	str := func(s string) arg {
		if s == "" {
			return name("NULL", 0)
		}
		return c.str(field, s)
	}
	c.op(op{field: field, call: sysMount, object: m.Target,
		args: []arg{str(m.Source), str(m.Target), str(m.Type), name(hex(m.Flags), m.Flags), str(m.Data)}})
}

// addPivotRoot puts the old root on top of the new one, and takes it off:
// pivot_root(2), "pivot_root(".", ".")".
func addPivotRoot(c *compiler) error {
	root := c.attr.PivotRoot
	if root == "" {
		return nil
	}
	here := c.str("PivotRoot", ".")
	c.op(op{field: "PivotRoot", call: sysChdir, args: []arg{c.str("PivotRoot", root)}, object: root})
	c.op(op{field: "PivotRoot", call: sysPivotRoot, args: []arg{here, here}, object: root,
		explain: onError(unix.EINVAL, "it must be a mount point, not a shared one (PrivateMounts), and the root that is left not the initramfs (pivot_root(2))")})
	c.op(op{field: "PivotRoot", call: sysUmount2, args: []arg{here, name("MNT_DETACH", unix.MNT_DETACH)}, object: "the old root"})
	c.path("PivotRoot", sysChdir, "/")
	return nil
}
