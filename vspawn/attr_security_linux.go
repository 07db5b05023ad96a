package vspawn

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func addBounding(c *compiler) error {
	if c.attr.Bounding == nil {
		return nil
	}
	c.plan.credentials = true
	last, err := lastCap("Bounding")
	if err != nil {
		return err
	}
	for n := range last + 1 {
		if *c.attr.Bounding&Caps(n) == 0 {
			c.prctl("Bounding", name("PR_CAPBSET_DROP", unix.PR_CAPBSET_DROP), dec(int32(n)))
		}
	}
	return nil
}

func addSecurebits(c *compiler) error {
	if b := c.attr.Securebits; b != nil {
		c.plan.credentials = true
		c.prctl("Securebits", name("PR_SET_SECUREBITS", unix.PR_SET_SECUREBITS), c.flags("Securebits", *b, hex(uintptr(*b))))
	}
	return nil
}

// addKeepCaps is implied where capabilities are set after a change of UID.
func addKeepCaps(c *compiler) error {
	a := c.attr
	if a.KeepCaps || a.UID != nil && (a.Capabilities != nil || a.Ambient != 0) {
		c.prctl("KeepCaps", name("PR_SET_KEEPCAPS", unix.PR_SET_KEEPCAPS), dec(1))
	}
	return nil
}

func addCapabilities(c *compiler) error {
	a := c.attr
	if a.Capabilities == nil && a.Ambient == 0 {
		return nil
	}
	sets := a.Capabilities
	if sets == nil {
		var err error
		if sets, err = c.currentCaps(); err != nil {
			return err
		}
		sets.Effective |= a.Ambient
		sets.Inheritable |= a.Ambient
	}
	if extra := sets.Effective &^ sets.Permitted; extra != 0 {
		field := "Capabilities"
		if a.Capabilities == nil {
			field = "Ambient"
		}
		return refuse(field, "%v can't be effective without being permitted", extra)
	}
	if extra := a.Ambient &^ (sets.Permitted & sets.Inheritable); extra != 0 {
		return refuse("Ambient", "%v can't be ambient without being permitted and inheritable", extra)
	}
	if a.Capabilities != nil {
		if err := c.checkRoot(sets); err != nil {
			return err
		}
	}
	c.plan.credentials = true
	var header, data []byte
	header = native.AppendUint32(header, unix.LINUX_CAPABILITY_VERSION_3)
	header = native.AppendUint32(header, 0) // the caller
	for _, shift := range []int{0, 32} {
		for _, s := range []CapSet{sets.Effective, sets.Permitted, sets.Inheritable} {
			data = native.AppendUint32(data, uint32(s>>shift))
		}
	}
	c.op(op{field: "Capabilities", call: sysCapset, object: *sets,
		args: []arg{c.bytes(header, "{_LINUX_CAPABILITY_VERSION_3, 0}"), c.bytes(data, *sets)}})
	for n := range 64 {
		if a.Ambient&Caps(n) != 0 {
			c.prctl("Ambient", name("PR_CAP_AMBIENT", unix.PR_CAP_AMBIENT), name("PR_CAP_AMBIENT_RAISE", unix.PR_CAP_AMBIENT_RAISE), dec(int32(n)))
		}
	}
	return nil
}

// currentCaps are those that the child has when it comes to set them.
func (c *compiler) currentCaps() (*Capabilities, error) {
	if c.newCredentials() {
		last, err := lastCap("Ambient")
		all := CapSet(1)<<last<<1 - 1
		return &Capabilities{Permitted: all, Effective: all}, err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil, &Error{Step: "capget", Field: "Ambient", Err: err}
	}
	both := func(low, high uint32) CapSet { return CapSet(low) | CapSet(high)<<32 }
	return &Capabilities{
		Permitted:   both(data[0].Permitted, data[1].Permitted),
		Effective:   both(data[0].Effective, data[1].Effective),
		Inheritable: both(data[0].Inheritable, data[1].Inheritable),
	}, nil
}

func addNoNewPrivs(c *compiler) error {
	if c.attr.NoNewPrivs {
		c.prctl("NoNewPrivs", name("PR_SET_NO_NEW_PRIVS", unix.PR_SET_NO_NEW_PRIVS), dec(1))
	}
	return nil
}

func addLandlock(c *compiler) error {
	l := c.attr.Landlock
	if l == nil {
		return nil
	}
	const rulePathBeneath, ruleNetPort = 1, 2 // include/uapi/linux/landlock.h
	if l.FS|l.Net|l.Scope == 0 {
		return refuse("Landlock", "it handles nothing, so it would allow everything")
	}
	// A kernel takes a shorter structure than its own, and a longer one if it
	// knows all that is set there: so the shortest that will do.
	length := 8
	if l.Net != 0 {
		length = 16
	}
	if l.Scope != 0 {
		length = 24
	}
	attr := native.AppendUint64(native.AppendUint64(native.AppendUint64(nil, l.FS), l.Net), l.Scope)
	ruleset := c.keep(op{field: "Landlock", call: sysLandlockCreateRuleset,
		args: []arg{c.bytes(attr, fmt.Sprintf("{%#x, %#x, %#x}", l.FS, l.Net, l.Scope)), size(length), dec(0)}})
	add := func(kind string, number uintptr, rule arg, object any) {
		c.op(op{field: "Landlock", call: sysLandlockAddRule, object: object,
			args: []arg{numbered(ruleset), name(kind, number), rule, dec(0)}})
	}
	for i, p := range l.Paths {
		field := index("Landlock.Paths", i)
		switch {
		case p.Path == "":
			return refuse(field, "%q is not a path", p.Path)
		case p.Allow == 0 || p.Allow&^l.FS != 0:
			return refuse(field, "allows %#x, but %#x is handled", p.Allow, l.FS)
		}
		fd := c.keep(c.open("Landlock", c.str(field, p.Path), name(openFlags(unix.O_PATH), unix.O_PATH), 0))
		add("LANDLOCK_RULE_PATH_BENEATH", rulePathBeneath, arg{kind: argSpareRule, val: spareIndex(fd), show: pathRule{p.Allow, p.Path}}, p.Path)
	}
	for i, p := range l.Ports {
		field := index("Landlock.Ports", i)
		switch {
		case p.Port < 0 || p.Port > 65535:
			return refuse(field, "%d is not a port", p.Port)
		case p.Allow == 0 || p.Allow&^l.Net != 0:
			return refuse(field, "allows %#x, but %#x is handled", p.Allow, l.Net)
		}
		rule := native.AppendUint64(native.AppendUint64(nil, p.Allow), uint64(p.Port))
		add("LANDLOCK_RULE_NET_PORT", ruleNetPort, c.bytes(rule, itoa(p.Port)), p.Port)
	}
	c.op(op{field: "Landlock", call: sysLandlockRestrictSelf, args: []arg{numbered(ruleset), dec(0)}})
	return nil
}

func addSeccomp(c *compiler) error {
	filter := c.attr.Seccomp
	if filter == nil {
		return nil
	}
	if len(filter) == 0 || len(filter) > 4096 { // BPF_MAXINSNS
		return refuse("Seccomp", "%d instructions: want 1 to 4096", len(filter))
	}
	var code []byte
	for _, i := range filter {
		code = native.AppendUint16(code, i.Op)
		code = append(code, i.Jt, i.Jf)
		code = native.AppendUint32(code, i.K)
	}
	// struct sock_fprog: the length, and a pointer aligned as pointers are.
	c.op(op{field: "Seccomp", call: sysSeccomp, object: fmt.Sprintf("a filter of %d instructions", len(filter)),
		explain: onError(unix.EACCES, "it needs NoNewPrivs, or CAP_SYS_ADMIN in the child"),
		args: []arg{name("SECCOMP_SET_MODE_FILTER", unix.SECCOMP_SET_MODE_FILTER), dec(0),
			{val: c.mem.prog(len(filter), c.mem.bytes(code)), show: fmt.Sprintf("{len=%d}", len(filter))}}})
	return nil
}
