package vspawn

import (
	"math"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What the kernel is given is checked where it becomes an argument, so that nothing
// can be forgotten: there is no other way to make one of a string, a descriptor
// (c.fd), or an int of the caller's. The first refusal is the one that counts.

func (c *compiler) refuse(field, format string, args ...any) { c.fail(refuse(field, format, args...)) }

func (c *compiler) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// str is a string that the kernel reads, up to its NUL.
func (c *compiler) str(field, s string) arg {
	c.fail(checkString(field, s))
	return arg{val: c.mem.str(s), show: quotedString(s)}
}

// strs is a list of them, printed as show.
func (c *compiler) strs(field string, list []string, show any) arg {
	c.fail(checkStrings(field, list))
	return arg{val: c.mem.strs(list), show: show}
}

// bytes is a structure that the kernel reads, printed as show.
func (c *compiler) bytes(b []byte, show any) arg { return arg{val: c.mem.bytes(b), show: show} }

// int is a number of the caller's, from 0 on. what it has to be is for the refusal.
func (c *compiler) int(field string, v int, what string) arg {
	if !kernelInt(v) {
		c.refuse(field, "%d is not %s", v, what)
	}
	return arg{val: uintptr(v)}
}

// flags is a set of flags of the caller's, printed as show.
func (c *compiler) flags(field string, v int, show string) arg {
	if !kernelInt(v) {
		c.refuse(field, "%#x is not a set of flags", v)
	}
	return name(show, uintptr(v))
}

func checkString(field, s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return refuse(field, "%q contains a NUL", s)
	}
	return nil
}

func checkStrings(field string, list []string) error {
	for i, s := range list {
		if strings.IndexByte(s, 0) >= 0 {
			return checkString(index(field, i), s)
		}
	}
	return nil
}

// checkProgram refuses what can't be one, whatever it is made of.
func checkProgram(path string, argv []string) error {
	switch {
	case path == "":
		return refuse("path", "empty")
	case len(argv) == 0:
		return refuse("argv", "empty: the first argument is the program's own name")
	}
	return nil
}

func (c *compiler) checkProgram(path string, argv []string) {
	if c.attr.ExecFD != nil {
		if path != "" {
			c.refuse("path", "%q contradicts ExecFD", path)
		}
		path = "/" // any that passes
	}
	c.fail(checkProgram(path, argv))
}

// validID tells whether the kernel can take id; -1, all ones, means "no
// change" there.
func validID(id int) bool { return id >= 0 && uint64(id) < math.MaxUint32 }

// kernelInt tells whether v is a number from 0 on that the kernel takes as it is.
// Of one that is too wide for its int it takes the lower half.
func kernelInt(v int) bool { return v >= 0 && v <= math.MaxInt32 }

const maxSignal = 64

func validSignal(s syscall.Signal) bool { return s >= 1 && s <= maxSignal }

// checkSignal checks a signal that is to be blocked, or given a disposition.
func checkSignal(field string, s syscall.Signal) error {
	if !validSignal(s) {
		return refuse(field, "%d is not a signal", int(s))
	}
	if s == unix.SIGKILL || s == unix.SIGSTOP {
		return refuse(field, "%s can't be blocked, ignored or caught", unix.SignalName(s))
	}
	return nil
}
