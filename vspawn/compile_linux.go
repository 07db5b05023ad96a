package vspawn

import (
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Compile checks what a child is to be given and puts the child's system calls
// in order. It starts nothing. Apart from the descriptors, of which it checks
// that they are open, and the inherited environment, the Plan depends on the
// arguments alone. Bad input gives an [*AttrError] that names the field.
//
// path is passed to execve as it is, without a search in PATH. argv is the
// whole argument list, the program's own name first; nil stands for just path.
func Compile(path string, argv []string, attr *Attr) (*Plan, error) {
	if attr == nil {
		attr = &Attr{}
	}
	if argv == nil {
		argv = []string{path}
	}
	c := &compiler{attr: attr, plan: &Plan{ownTable: len(attr.Syscalls) > 0}, top: 3}
	c.mem = &c.plan.mem
	env := attr.Env
	if env == nil {
		env = os.Environ()
	}
	if err := c.checkStrings(path, argv, env); err != nil {
		return nil, err
	}
	if err := checkSyscalls(c); err != nil {
		return nil, err
	}
	c.op(op{kind: opUnshareFiles, name: "close_range", nr: unix.SYS_CLOSE_RANGE})
	for _, a := range attributes {
		addSyscalls(c, a.field)
		if err := a.add(c); err != nil {
			return nil, err
		}
	}
	c.op(op{name: "execve", nr: unix.SYS_EXECVE, object: path,
		args: []arg{
			{val: c.mem.str(path), show: quotedString(path)},
			{val: c.mem.strs(argv), show: slices.Clone(argv)},
			{val: c.mem.strs(env), show: environment(len(env))},
		}})
	c.plan.top = c.top
	return c.plan, nil
}

// environment prints as strace abbreviates one: its size.
type environment int

func (n environment) String() string { return "/* " + itoa(int(n)) + " vars */" }

// A compiler is one run of Compile.
type compiler struct {
	attr *Attr
	plan *Plan
	mem  *memory
	top  int // above every descriptor that the child uses
}

func (c *compiler) op(o op) { c.plan.ops = append(c.plan.ops, o) }

func (c *compiler) checkStrings(path string, argv, env []string) error {
	switch {
	case path == "":
		return refuse("path", "empty")
	case len(argv) == 0:
		return refuse("argv", "empty: the first argument is the program's own name")
	}
	for _, s := range []struct{ field, value string }{{"path", path}, {"Dir", c.attr.Dir}, {"Chroot", c.attr.Chroot}} {
		if strings.IndexByte(s.value, 0) >= 0 {
			return refuse(s.field, "%q contains a NUL", s.value)
		}
	}
	for _, l := range []struct {
		field string
		list  []string
	}{{"argv", argv}, {"Env", env}} {
		for i, s := range l.list {
			if strings.IndexByte(s, 0) >= 0 {
				return refuse(index(l.field, i), "%q contains a NUL", s)
			}
		}
	}
	return nil
}

// descriptor checks that the parent has fd, and notes that the child uses it.
func (c *compiler) descriptor(field string, fd int) error {
	if fd < 0 {
		return refuse(field, "%d is not a descriptor", fd)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return refuse(field, "descriptor %d is not open", fd)
	}
	c.top = max(c.top, fd+1)
	return nil
}

func (c *compiler) path(field, call string, nr uintptr, path string) error {
	c.op(op{field: field, name: call, nr: nr, args: []arg{{val: c.mem.str(path), show: quotedString(path)}}, object: path})
	return nil
}

func (c *compiler) id(field, call string, nr uintptr, id *int) error {
	if id == nil {
		return nil
	}
	if !validID(*id) {
		return refuse(field, "%d is not an id", *id)
	}
	c.plan.credentials = true
	c.op(op{field: field, name: call, nr: nr, args: []arg{dec(*id), dec(*id), dec(*id)}, object: *id})
	return nil
}

func (c *compiler) rlimit(field string, r Rlimit) {
	limits := arg{val: c.mem.words64([]uint64{r.Soft, r.Hard}), show: rlimitValue(r)}
	c.op(op{field: field, name: "prlimit64", nr: unix.SYS_PRLIMIT64, object: rlimitName(r.Resource),
		args: []arg{dec(0), name(rlimitName(r.Resource), uintptr(r.Resource)), limits, name("NULL", 0)}})
}

var rlimitNames = [...]string{"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
	"MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"}

func rlimitName(resource int) string { return "RLIMIT_" + rlimitNames[resource] }

// rlimitValue prints as strace prints a struct rlimit.
type rlimitValue Rlimit

func (r rlimitValue) String() string {
	return "{rlim_cur=" + limit(r.Soft) + ", rlim_max=" + limit(r.Hard) + "}"
}

func limit(v uint64) string {
	if v == math.MaxUint64 {
		return "RLIM_INFINITY"
	}
	return strconv.FormatUint(v, 10)
}

// validID tells whether the kernel can take id; -1, all ones, means "no
// change" there.
func validID(id int) bool { return id >= 0 && uint64(id) < math.MaxUint32 }

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
