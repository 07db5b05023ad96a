package vspawn

import (
	"os"
	"slices"
	"sync"

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
		plain, err := plainPlan()
		if err != nil {
			return nil, err
		}
		return plain.For(path, slices.Clone(argv), nil)
	}
	return compile(path, argv, attr)
}

// plainPlan is that of a child without attributes, which is the same for all programs.
var plainPlan = sync.OnceValues(func() (*Plan, error) { return compile("/", nil, &Attr{}) })

func compile(path string, argv []string, attr *Attr) (*Plan, error) {
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
	c.checkProgram(path, argv)
	c.checkSyscalls()
	c.op(op{kind: opUnshareFiles, call: sysCloseRange})
	for _, a := range attributes {
		addSyscalls(c, a.field)
		if c.fail(a.add(c)); c.err != nil {
			return nil, c.err
		}
	}
	if c.exec(path, argv, env); c.err != nil {
		return nil, c.err
	}
	c.settle()
	return c.plan, nil
}

func (c *compiler) exec(path string, argv, env []string) {
	file := c.str("path", path)
	vectors := []arg{c.strs("argv", argv, slices.Clone(argv)), c.strs("Env", env, environment(len(env)))}
	if c.attr.ExecFD == nil {
		c.op(op{call: sysExecve, args: slices.Concat([]arg{file}, vectors), object: path, explain: explainExec})
		return
	}
	fd := c.fd("ExecFD", sysExecveat, c.attr.ExecFD)
	at := c.at(fd)
	// In a root that is not ours the name may be another file's.
	if a := c.attr; a.Chroot == "" && a.PivotRoot == "" && len(a.Mounts) == 0 && len(a.Setns) == 0 && len(a.Syscalls) == 0 &&
		(a.Cloneflags|a.Unshareflags)&unix.CLONE_NEWNS == 0 {
		c.plan.execPath = c.str("ExecFD", "/proc/self/fd/"+itoa(at))
		if at != fd {
			c.plan.execPath = arg{kind: argSparePath, val: spareIndex(at)}
		}
		c.plan.execByName = true
	}
	c.op(op{kind: opExecFD, field: "ExecFD", call: sysExecveat, object: fd,
		args: slices.Concat([]arg{numbered(at), file}, vectors, []arg{name("AT_EMPTY_PATH", unix.AT_EMPTY_PATH)})})
}

// environment prints as strace abbreviates one: its size.
type environment int

func (n environment) String() string { return "/* " + itoa(int(n)) + " vars */" }

// A compiler is one run of Compile.
type compiler struct {
	attr *Attr
	plan *Plan
	mem  *memory

	fds   map[string]int // by the field that names them: c.fd
	moved map[int]int    // where Files has put a descriptor that it overwrites

	err error // the first refusal
}

func (c *compiler) op(o op) { c.plan.ops = append(c.plan.ops, o) }

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
		args: []arg{{kind: argResult}, numbered(fd), name("O_CLOEXEC", unix.O_CLOEXEC)}})
	return fd
}

// open is openat.
func (c *compiler) open(field string, path, flags arg, mode uint32) op {
	flags.val |= unix.O_CLOEXEC
	return op{field: field, call: sysOpenat, object: string(path.show.(quotedString)),
		args: []arg{name("AT_FDCWD", atFDCWD), path, flags, oct(mode)}}
}

func (c *compiler) path(field string, call call, path string) {
	c.op(op{field: field, call: call, args: []arg{c.str(field, path)}, object: path})
}

func (c *compiler) id(field string, call call, id *int) error {
	if id == nil {
		return nil
	}
	if !validID(*id) {
		return refuse(field, "%d is not an id", *id)
	}
	c.plan.credentials = true
	v := arg{val: uintptr(*id)}
	c.op(op{field: field, call: call, args: []arg{v, v, v}, object: *id})
	return nil
}
