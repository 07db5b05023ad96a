package asm

import _ "unsafe" // for go:linkname

// Supported tells whether this system and architecture have stubs:
// asm_linux_$GOARCH.s, and their numbers in defs_linux_$GOARCH.go.
const Supported = vforkFlags != 0

// Vfork makes a child by clone(CLONE_VM|CLONE_VFORK|SIGCHLD) and returns
// twice: 0 in the child, and in the parent, once the child has called execve
// or _exit, the child's pid or a negated errno.
//
// The child runs on the parent's stack, in the caller's frame. Until it execs
// or exits it may call nothing that allocates, locks, grows the stack or can
// be preempted, and whatever it stores the parent will find. The caller must
// be go:nosplit and go:norace, must have blocked all signals, and must call
// Vfork directly: through a func value, an interface or a linkname Go goes by
// an ABI wrapper, whose own return address lies on the shared stack, and the
// parent then wakes up in the child's branch (golang/go#71892).
//
// Where Supported is false a program that calls it is not linked.
//
//go:noescape
func Vfork() (r uintptr)

// spawn is Spawn without the notice to the scheduler.
//
//go:noescape
func spawn(p *Program) (r uintptr)

// Spawn runs p: it makes the child, whose Steps begin at p.Steps, and returns
// when the child has exec'd or died, with what Create returned: the child's
// pid or a negated errno. Where the kernel ignores CLONE_VFORK (qemu-user), and
// where Create has no such flag, it returns at once. Without it p, and all that
// its Steps point to, have to stay until the child has exec'd or died; the stack
// may go on, since the child has no use for one.
//
// Only the calling thread waits. It does so in the runtime's system call
// state, so the other goroutines and the garbage collector go on.
//
// It panics where Supported is false.
//
//go:nosplit
//go:norace
func Spawn(p *Program) (r uintptr) {
	if !Supported {
		panic("asm.Spawn: no stub for this system")
	}
	entersyscall()
	r = spawn(p)
	exitsyscall()
	return r
}

// The runtime keeps these two for packages that make system calls of their
// own (golang/go#67401).

//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()
