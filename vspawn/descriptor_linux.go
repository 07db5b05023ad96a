package vspawn

import (
	"os"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"
)

// A keptFile is a file that a plan keeps, and that has to be open still at the start:
// another may have the number of one that was closed.
type keptFile struct {
	Descriptor
	fd    int
	field string
	call  call // that uses it
}

// number is a descriptor's, without a change to its file.
func number(d Descriptor) (int, error) {
	switch d := d.(type) {
	case nil:
		return -1, os.ErrInvalid
	case FD:
		return int(d), nil
	case *os.File:
		return fileNumber(d)
	}
	if v := reflect.ValueOf(d); v.Kind() == reflect.Pointer && v.IsNil() {
		return -1, os.ErrInvalid // a connection would panic
	}
	fd := -1 // also for one that does not call back
	conn, err := d.SyscallConn()
	if err == nil {
		err = conn.Control(func(n uintptr) { fd = int(n) })
	}
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// fileNumber is number for what is given most, which allocates nothing: each start
// asks for it.
func fileNumber(f *os.File) (int, error) {
	fd := -1
	conn, err := f.SyscallConn()
	if err == nil {
		err = conn.Control(func(n uintptr) { fd = int(n) })
	}
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// fd is the number of a descriptor that the child uses: it has to be open. call is
// the first call that does.
func (c *compiler) fd(field string, call call, d Descriptor) int {
	if fd, known := c.fds[field]; known {
		return fd
	}
	fd := c.opened(field, call, d)
	if c.fds == nil {
		c.fds = map[string]int{}
	}
	c.fds[field] = fd
	c.plan.lowTop = max(c.plan.lowTop, fd+1)
	return fd
}

// opened checks that the parent has a descriptor.
func (c *compiler) opened(field string, call call, d Descriptor) (fd int) {
	if d == nil {
		c.refuse(field, "no descriptor: vspawn.FD(0) is the parent's 0")
		return -1
	}
	fd, err := number(d)
	switch {
	case err != nil:
		c.refuse(field, "the file is not open: %v", err)
		return -1
	case !kernelInt(fd):
		c.refuse(field, "%d is not a descriptor", fd)
		return -1
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == unix.EBADF { // else the child's own call tells
		c.refuse(field, "descriptor %d is not open", fd)
		return -1
	}
	c.plan.top = max(c.plan.top, fd+1)
	c.plan.parents = append(c.plan.parents, fd)
	if _, isNumber := d.(FD); !isNumber {
		c.plan.kept = append(c.plan.kept, keptFile{d, fd, field, call})
	}
	return fd
}

// stillOpen tells whether the files that the plan keeps are what they were.
func (p *Plan) stillOpen() error {
	for _, s := range p.kept {
		if fd, err := number(s.Descriptor); err == nil && fd == s.fd {
			continue
		}
		e := &Error{Step: s.call.name, Field: s.field, Object: "descriptor " + itoa(s.fd), Err: os.ErrClosed, Hint: "it was closed after Compile"}
		if f, ok := s.Descriptor.(interface{ Name() string }); ok {
			e.Object = f.Name()
		}
		return e
	}
	return nil
}

// A number below zero is a spare one of the child's, until all descriptors are known.

// spare is a number for the child to use on the way: see spare_linux.go.
func (c *compiler) spare(field string) int {
	if c.plan.spares++; c.plan.spares == 1 {
		c.plan.spareFor = field
	}
	return -c.plan.spares
}

// numbered is a descriptor that c.fd has given, or a spare number.
func numbered(fd int) arg {
	if fd < 0 {
		return arg{kind: argSpare, val: spareIndex(fd)}
	}
	return arg{val: uintptr(fd)}
}

// spareIndex counts the spare numbers from 0 on.
func spareIndex(fd int) uintptr { return uintptr(-1 - fd) }

// settle gives the spare numbers their value: they follow all that the Attr names.
func (c *compiler) settle() {
	p := c.plan
	for i := range c.attr.Files {
		child := c.attr.Files[i].Child
		p.numbers = append(p.numbers, child)
		p.lowTop = max(p.lowTop, child+1)
	}
	p.lowTop = max(p.lowTop, 3)
	p.top = max(p.top, p.lowTop)
	p.numbers = append(p.numbers, p.parents...)
	for _, s := range c.attr.Syscalls {
		p.mostOpened += 2 // a pipe, say
		p.opens = append(p.opens, 0)
		for _, v := range s.Args {
			if v < maxDescriptor {
				p.numbers = append(p.numbers, int(v))
				p.opens = append(p.opens, int(v))
			}
		}
	}
	slices.Sort(p.opens)
	p.opens = slices.Compact(p.opens)
	for i := range p.ops {
		for j := range p.ops[i].args {
			p.ops[i].args[j].settle(p.top)
		}
	}
	p.execPath.settle(p.top)
}

func (a *arg) settle(top int) {
	switch a.kind {
	case argSpare, argSparePath, argSpareRule:
		a.val += uintptr(top)
	}
}
