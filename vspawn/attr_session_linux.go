package vspawn

import (
	"golang.org/x/sys/unix"
)

func addSetsid(c *compiler) error {
	if c.attr.Setsid {
		c.op(op{field: "Setsid", call: sysSetsid})
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
	case *a.Pgid != 0 && a.Cloneflags&unix.CLONE_NEWPID != 0:
		return refuse("Pgid", "%d would be a group of the new PID namespace (CLONE_NEWPID), which has none yet: 0 makes one", *a.Pgid)
	case a.Setsid: // done by it
	default:
		c.op(op{field: "Pgid", call: sysSetpgid, args: []arg{dec(0), c.int("Pgid", *a.Pgid, "a process group")}})
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
	tty := numbered(c.fd("TTY", sysIoctl, a.TTY))
	if a.ControllingTTY {
		c.op(op{field: "ControllingTTY", call: sysIoctl,
			args: []arg{tty, name("TIOCSCTTY", unix.TIOCSCTTY), dec(0)}})
	}
	if a.Foreground {
		// SIGTTOU, which a background process gets for this, is blocked.
		c.op(op{field: "Foreground", call: sysGetpgid, args: []arg{dec(0)}, out: arg{kind: argWord, val: wordPgid}})
		c.op(op{field: "Foreground", call: sysIoctl,
			args: []arg{tty, name("TIOCSPGRP", unix.TIOCSPGRP), {kind: argInt32, val: wordPgid}}})
	}
	return nil
}
