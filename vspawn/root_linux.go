package vspawn

import (
	"golang.org/x/sys/unix"
)

// secbitNoroot is of include/uapi/linux/securebits.h.
const secbitNoroot = 1 << 0

// checkRoot refuses sets that execve would not leave as they are: a program that
// is root gets all that its bounding and inheritable sets have
// (security/commoncap.c, handle_privileged_root).
func (c *compiler) checkRoot(sets *Capabilities) error {
	if !c.rootAtExec() {
		return nil
	}
	for _, without := range []func() (bool, error){c.noNewPrivs, c.noRoot} {
		if is, err := without(); is || err != nil {
			return err
		}
	}
	bounding, err := c.bounding()
	if err != nil {
		return err
	}
	if extra := (bounding | sets.Inheritable) &^ sets.Permitted; extra != 0 {
		return refuse("Capabilities", "the program is root, to whom execve would give %v besides: "+
			"lower Bounding to what is permitted, or set NoNewPrivs, or SECBIT_NOROOT in Securebits", extra)
	}
	return nil
}

// rootAtExec tells whether the child's real or effective user is root by then, so
// far as can be told: what an entered user namespace makes of the parent's user
// can't.
func (c *compiler) rootAtExec() bool {
	a := c.attr
	switch {
	case a.Unshareflags&unix.CLONE_NEWUSER != 0: // where no id is mapped
		return false
	case a.UID != nil:
		return *a.UID == 0
	case c.mayEnterUserNamespace():
		return false
	case a.Cloneflags&unix.CLONE_NEWUSER != 0:
		for _, m := range a.UIDMap {
			if m.Inside == 0 && (m.Outside == unix.Getuid() || m.Outside == unix.Geteuid()) {
				return true
			}
		}
		return false
	}
	return unix.Getuid() == 0 || unix.Geteuid() == 0
}

// mayEnterUserNamespace tells whether one is among Setns.
func (c *compiler) mayEnterUserNamespace() bool {
	for i := range c.attr.Setns {
		if flags := c.namespace(i).known().flags; flags == 0 || flags&unix.CLONE_NEWUSER != 0 {
			return true
		}
	}
	return false
}

// newCredentials tells whether the child's securebits and bounding set are those
// that the kernel gives to who comes into a user namespace.
func (c *compiler) newCredentials() bool {
	return (c.attr.Cloneflags|c.attr.Unshareflags)&unix.CLONE_NEWUSER != 0 || c.mayEnterUserNamespace()
}

func (c *compiler) noNewPrivs() (bool, error) {
	if c.attr.NoNewPrivs {
		return true, nil
	}
	is, err := ownPrctl("Capabilities", "PR_GET_NO_NEW_PRIVS", unix.PR_GET_NO_NEW_PRIVS, 0)
	return is == 1, err
}

func (c *compiler) noRoot() (bool, error) {
	if b := c.attr.Securebits; b != nil {
		return *b&secbitNoroot != 0, nil
	}
	if c.newCredentials() {
		return false, nil
	}
	bits, err := ownPrctl("Capabilities", "PR_GET_SECUREBITS", unix.PR_GET_SECUREBITS, 0)
	return bits&secbitNoroot != 0, err
}

// bounding is the child's bounding set at exec.
func (c *compiler) bounding() (set CapSet, err error) {
	last, err := lastCap("Capabilities")
	if err != nil {
		return 0, err
	}
	for n := range last + 1 {
		has := 1
		if !c.newCredentials() {
			if has, err = ownPrctl("Capabilities", "PR_CAPBSET_READ", unix.PR_CAPBSET_READ, n); err != nil {
				return 0, err
			}
		}
		if has == 1 {
			set |= Caps(n)
		}
	}
	if b := c.attr.Bounding; b != nil {
		set &= *b
	}
	return set, nil
}

// lastCap is the highest capability that the kernel knows.
func lastCap(field string) (int, error) {
	for n := range 64 {
		_, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		switch {
		case err == unix.EINVAL && n > 0:
			return n - 1, nil
		case err != nil:
			return 0, refused("prctl", field, "PR_CAPBSET_READ", err)
		}
	}
	return 63, nil
}

// ownPrctl asks what the child is to inherit.
func ownPrctl(field, option string, nr, arg int) (int, error) {
	v, err := unix.PrctlRetInt(nr, uintptr(arg), 0, 0, 0)
	if err != nil {
		return 0, refused("prctl", field, option, err)
	}
	return v, nil
}

// refused is the error of a call that the parent makes for what it must know of
// itself. None of them fails but in a sandbox.
func refused(call, field, object string, err error) error {
	return &Error{Step: call, Field: field, Object: object, Err: err,
		Hint: "a sandbox seems to refuse the parent this call, without which the attribute can't be had as it is asked for"}
}
