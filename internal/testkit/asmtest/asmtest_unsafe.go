//go:build linux

package asmtest

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// New makes a Program that blocks and restores signals and reports nothing.
//
//go:noinline
func New(create Create, steps ...asm.Step) *Program {
	p := &Program{List: append([]asm.Step(nil), steps...)} // on the heap, as it is returned
	p.Full = ^uint64(0)
	p.Block = asm.Step{Nr: unix.SYS_RT_SIGPROCMASK, Args: [6]uintptr{unix.SIG_SETMASK, Addr(&p.Full), Addr(&p.Mask), 8}}
	p.Restore = asm.Step{Nr: unix.SYS_RT_SIGPROCMASK, Args: [6]uintptr{unix.SIG_SETMASK, Addr(&p.Mask), 0, 8}}
	p.Report = asm.Step{Nr: asm.Ignore}
	p.Steps = Addr(&p.List[0])
	create(p)
	return p
}

// Clone is a vfork by clone.
func Clone(p *Program) {
	p.Create = asm.Step{Nr: unix.SYS_CLONE, Args: [6]uintptr{unix.CLONE_VM | unix.CLONE_VFORK | uintptr(unix.SIGCHLD)}}
}

// Clone3 is a vfork by clone3.
func Clone3(p *Program) {
	p.Clone = asm.CloneArgs{
		Flags:      unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_CLEAR_SIGHAND,
		ExitSignal: uint64(unix.SIGCHLD),
	}
	p.Create = asm.Step{Nr: unix.SYS_CLONE3, Args: [6]uintptr{Addr(&p.Clone), unsafe.Sizeof(p.Clone)}}
}

// Execve is the step that starts argv with an empty environment.
func (p *Program) Execve(argv []string) asm.Step {
	words := make([]*byte, len(argv)+1)
	for i, a := range argv {
		b, err := unix.BytePtrFromString(a)
		if err != nil {
			panic(err)
		}
		words[i] = b
	}
	env := make([]*byte, 1)
	p.keep = append(p.keep, words, env)
	return asm.Step{Nr: unix.SYS_EXECVE, Args: [6]uintptr{Addr(words[0]), Addr(&words[0]), Addr(&env[0])}}
}

// Write is the step that writes v, which must be on the heap and stay there.
func Write[T any](fd uintptr, v *T) asm.Step {
	return asm.Step{Nr: unix.SYS_WRITE, Args: [6]uintptr{fd, Addr(v), unsafe.Sizeof(*v)}}
}

// Addr is the address of *p, which must stay alive. It is on the heap, where nothing
// moves: the compiler takes it that p may be kept.
func Addr[T any](p *T) uintptr {
	if never {
		panic(p)
	}
	return uintptr(unsafe.Pointer(p))
}

var never bool
