package vspawn

import (
	"errors"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
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
	c := &compiler{attr: attr, plan: &Plan{compiled: &compiled{
		ownTable: len(attr.Syscalls) > 0 || attr.InheritFiles,
		inherits: attr.InheritFiles,
	}}}
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
	if err := c.checkDescriptors(); err != nil {
		return nil, err
	}
	c.op(op{kind: opUnshareFiles, call: sysCloseRange})
	for _, a := range attributes {
		addSyscalls(c, a.field)
		if err := a.add(c); err != nil {
			return nil, err
		}
	}
	c.exec(path, argv, env)
	return c.plan, nil
}

func (c *compiler) exec(path string, argv, env []string) {
	vectors := []arg{
		{val: c.mem.strs(argv), show: slices.Clone(argv)},
		{val: c.mem.strs(env), show: environment(len(env))},
	}
	if fd := c.attr.ExecFD; fd != nil {
		// In a root that is not ours the name may be another file's.
		if a := c.attr; a.Chroot == "" && a.PivotRoot == "" && len(a.Mounts) == 0 && len(a.Setns) == 0 && len(a.Syscalls) == 0 &&
			(a.Cloneflags|a.Unshareflags)&unix.CLONE_NEWNS == 0 {
			c.plan.execPath = c.str("/proc/self/fd/" + itoa(c.at(*fd)))
			if c.at(*fd) != *fd {
				c.plan.execPath = arg{kind: argSparePath, val: uintptr(c.at(*fd))}
			}
			c.plan.execByName = true
		}
		c.op(op{kind: opExecFD, field: "ExecFD", call: sysExecveat, object: *fd,
			args: slices.Concat([]arg{c.fd(c.at(*fd)), c.str("")}, vectors, []arg{name("AT_EMPTY_PATH", unix.AT_EMPTY_PATH)})})
		return
	}
	c.op(op{call: sysExecve, args: slices.Concat([]arg{c.str(path)}, vectors), object: path, explain: explainExec})
}

// environment prints as strace abbreviates one: its size.
type environment int

func (n environment) String() string { return "/* " + itoa(int(n)) + " vars */" }

// A compiler is one run of Compile.
type compiler struct {
	attr *Attr
	plan *Plan
	mem  *memory

	moved map[int]int // where Files has put a descriptor that it overwrites
}

func (c *compiler) op(o op) { c.plan.ops = append(c.plan.ops, o) }

// str is a string that the kernel reads.
func (c *compiler) str(s string) arg { return arg{val: c.mem.str(s), show: quotedString(s)} }

// bytes is a structure that the kernel reads, printed as show.
func (c *compiler) bytes(b []byte, show any) arg { return arg{val: c.mem.bytes(b), show: show} }

func (c *compiler) checkStrings(path string, argv, env []string) error {
	switch {
	case path == "" && c.attr.ExecFD != nil:
		path = "/" // any that passes
	case path != "" && c.attr.ExecFD != nil:
		return refuse("path", "%q contradicts ExecFD", path)
	}
	for _, s := range []struct{ field, value string }{{"Dir", c.attr.Dir}, {"Chroot", c.attr.Chroot},
		{"PivotRoot", c.attr.PivotRoot}, {"Hostname", c.attr.Hostname}} {
		if strings.IndexByte(s.value, 0) >= 0 {
			return refuse(s.field, "%q contains a NUL", s.value)
		}
	}
	return checkProgram(path, argv, env)
}

func checkProgram(path string, argv, env []string) error {
	switch {
	case path == "":
		return refuse("path", "empty")
	case strings.IndexByte(path, 0) >= 0:
		return refuse("path", "%q contains a NUL", path)
	case len(argv) == 0:
		return refuse("argv", "empty: the first argument is the program's own name")
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

// checkDescriptors checks that the parent has all the descriptors that the
// child is to use, and finds a number above them.
func (c *compiler) checkDescriptors() error {
	a := c.attr
	c.plan.top = 3
	check := func(field string, fd *int) error {
		if fd == nil {
			return nil
		}
		if !kernelInt(*fd) {
			return refuse(field, "%d is not a descriptor", *fd)
		}
		if _, err := unix.FcntlInt(uintptr(*fd), unix.F_GETFD, 0); err != nil {
			return refuse(field, "descriptor %d is not open", *fd)
		}
		c.plan.top = max(c.plan.top, *fd+1)
		c.plan.parents = append(c.plan.parents, *fd)
		return nil
	}
	err := errors.Join(check("Cgroup", a.Cgroup), check("TTY", a.TTY), check("DirFD", a.DirFD), check("ExecFD", a.ExecFD))
	for i := range a.Setns {
		if err == nil && a.Setns[i].Pid == 0 {
			err = check(index("Setns", i), &a.Setns[i].FD)
		}
	}
	for i := range a.Files {
		c.plan.top = max(c.plan.top, min(a.Files[i].Child, maxDescriptor)+1)
		c.plan.numbers = append(c.plan.numbers, a.Files[i].Child)
	}
	c.plan.lowTop = c.plan.top
	for i := range a.Files {
		if err == nil && a.Files[i].Path == "" {
			parent := a.Files[i].parent()
			err = check(index("Files", i), &parent)
		}
	}
	c.plan.numbers = append(c.plan.numbers, c.plan.parents...)
	for _, s := range a.Syscalls {
		for _, v := range s.Args {
			if v < maxDescriptor {
				c.plan.numbers = append(c.plan.numbers, int(v))
			}
		}
	}
	return err
}

// spare is a number for the child to use on the way: see spare_linux.go.
func (c *compiler) spare(field string) int {
	if c.plan.spares++; c.plan.spares == 1 {
		c.plan.spareFor = field
	}
	return c.plan.top + c.plan.spares - 1
}

// fd is a descriptor, which may be a spare number.
func (c *compiler) fd(n int) arg {
	if n < c.plan.top {
		return dec(n)
	}
	return arg{kind: argSpare, val: uintptr(n)}
}

// at is where a descriptor of the parent's is once Files has been at work.
func (c *compiler) at(fd int) int {
	if m, ok := c.moved[fd]; ok {
		return m
	}
	return fd
}

// keep gives what the call o opens a number that is known beforehand. The copy
// fails, without harm, if it has got that number itself.
func (c *compiler) keep(o op) (fd int) {
	fd = c.spare(o.field)
	o.out = arg{kind: argNext}
	c.op(o)
	c.op(op{kind: opKeep, field: o.field, call: sysDup3, flags: asm.Tolerate,
		args: []arg{{kind: argResult}, c.fd(fd), name("O_CLOEXEC", unix.O_CLOEXEC)}})
	return fd
}

// open is openat.
func (c *compiler) open(field, path string, flags int, mode uint32) op {
	return op{field: field, call: sysOpenat, object: path,
		args: []arg{name("AT_FDCWD", atFDCWD), c.str(path), name(openFlags(flags), uintptr(flags|unix.O_CLOEXEC)), oct(int(mode))}}
}

func (c *compiler) path(field string, call call, path string) {
	c.op(op{field: field, call: call, args: []arg{c.str(path)}, object: path})
}

func (c *compiler) id(field string, call call, id *int) error {
	if id == nil {
		return nil
	}
	if !validID(*id) {
		return refuse(field, "%d is not an id", *id)
	}
	c.plan.credentials = true
	c.op(op{field: field, call: call, args: []arg{dec(*id), dec(*id), dec(*id)}, object: *id})
	return nil
}

func (c *compiler) rlimit(field string, r Rlimit) {
	limits := arg{val: c.mem.words64([]uint64{r.Soft, r.Hard}), show: rlimitValue(r)}
	c.op(op{field: field, call: sysPrlimit64, object: rlimitName(r.Resource),
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
