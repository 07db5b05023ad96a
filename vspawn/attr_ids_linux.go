package vspawn

import (
	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

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
	// Its parent's death ends the wait: the child looks at the parent's pidfd, and
	// where there is none, at the socket, of which it must not hold both ends.
	c.plan.looks = true
	c.op(op{field: "UIDMap", name: "close", nr: unix.SYS_CLOSE, args: []arg{{kind: argPeer}}, object: "the parent's end of the id map socket"})
	c.op(op{field: "UIDMap", name: "write", nr: unix.SYS_WRITE, args: []arg{sock, word, dec(1)}})
	c.op(op{field: "UIDMap", name: "ppoll", nr: unix.SYS_PPOLL, object: "the id map socket and the parent's pidfd",
		args: []arg{{kind: argWord, val: wordPolls, show: "[{sync, POLLIN}, {parent, POLLIN}]"}, dec(2), name("NULL", 0), name("NULL", 0), dec(sigsetSize)}})
	c.op(op{field: "UIDMap", name: "read", nr: unix.SYS_READ, args: []arg{sock, word, dec(1)}, flags: asm.Expect, want: dec(1)})
	return nil
}

func addGroups(c *compiler) error {
	a := c.attr
	switch {
	case a.KeepGroups && a.Groups != nil:
		return refuse("KeepGroups", "contradicts Groups")
	case a.Groups == nil && (a.KeepGroups || a.UID == nil && a.GID == nil):
		return nil
	case a.Groups == nil && c.setgroupsDenied():
		return refuse("Groups", "UID and GID drop them, which is denied in the child's user namespace: set KeepGroups, "+
			"or AllowSetgroups beside a GIDMap, which takes CAP_SETGID")
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

// setgroupsDenied tells whether it is sure that the child's user namespace denies
// setgroups.
func (c *compiler) setgroupsDenied() bool {
	a := c.attr
	switch {
	case a.Unshareflags&unix.CLONE_NEWUSER != 0: // it has no gid_map
		return true
	case c.mayEnterUserNamespace():
		return false
	}
	return a.Cloneflags&unix.CLONE_NEWUSER != 0 && !a.AllowSetgroups
}

func addGID(c *compiler) error { return c.id("GID", "setresgid", sysSetresgid, c.attr.GID) }

func addUID(c *compiler) error { return c.id("UID", "setresuid", sysSetresuid, c.attr.UID) }
