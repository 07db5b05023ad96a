package vspawn

import "golang.org/x/sys/unix"

// addIDMaps has the child ask its parent, whose answer is that the maps are written.
func addIDMaps(c *compiler) error {
	c.closePeer()
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
			last := l.Size - 1
			if last < 0 || !validID(l.Inside) || !validID(l.Outside) || !validID(l.Inside+last) || !validID(l.Outside+last) {
				return refuse(index(m.field, i), "%d ids from %d on as %d: not a range of ids", l.Size, l.Outside, l.Inside)
			}
		}
	}
	c.plan.maps = newMapFiles(a)
	field := "UIDMap"
	if a.UIDMap == nil {
		field = "GIDMap"
	}
	c.askParent(field)
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
	c.op(op{field: "Groups", call: sysSetgroups, args: []arg{size(len(list)), {val: c.mem.words32(list), show: list}}, object: a.Groups,
		explain: onError(unix.EPERM, "it needs CAP_SETGID, and in a user namespace a GIDMap with AllowSetgroups; KeepGroups keeps the groups as they are")})
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

func addGID(c *compiler) error { return c.id("GID", sysSetresgid, c.attr.GID) }

func addUID(c *compiler) error { return c.id("UID", sysSetresuid, c.attr.UID) }
