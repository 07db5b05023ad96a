//go:build linux && (amd64 || arm64 || riscv64)

package asm_test

import (
	"unsafe"

	"github.com/vspawn/vspawn/asm"
	"golang.org/x/sys/unix"
)

// A program is a Program and all that its words point to, on the heap.
type program struct {
	asm.Program
	steps []asm.Step
	keep  []any
}

// newProgram has Block, Restore, an empty Report, and makes its child by
// create. The steps are copied.
//
//go:noinline
func newProgram(create func(*program), steps ...asm.Step) *program {
	p := &program{steps: append([]asm.Step(nil), steps...)}
	p.Full = ^uint64(0)
	p.Block = asm.Step{Nr: unix.SYS_RT_SIGPROCMASK, Args: [6]uintptr{unix.SIG_SETMASK, addr(&p.Full), addr(&p.Mask), 8}}
	p.Restore = asm.Step{Nr: unix.SYS_RT_SIGPROCMASK, Args: [6]uintptr{unix.SIG_SETMASK, addr(&p.Mask), 0, 8}}
	p.Report = asm.Step{Nr: asm.Ignore}
	p.Steps = addr(&p.steps[0])
	create(p)
	return p
}

func byClone(p *program) {
	p.Create = asm.Step{Nr: unix.SYS_CLONE, Args: [6]uintptr{unix.CLONE_VM | unix.CLONE_VFORK | uintptr(unix.SIGCHLD)}}
}

func byClone3(p *program) {
	p.Clone = asm.CloneArgs{
		Flags:      unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_CLEAR_SIGHAND,
		ExitSignal: uint64(unix.SIGCHLD),
	}
	p.Create = asm.Step{Nr: unix.SYS_CLONE3, Args: [6]uintptr{addr(&p.Clone), unsafe.Sizeof(p.Clone)}}
}

// execve is the step that starts argv with an empty environment. What it
// points to is kept with the program.
func (p *program) execve(argv []string) asm.Step {
	words := make([]*byte, len(argv)+1)
	for i, a := range argv {
		words[i], _ = unix.BytePtrFromString(a)
	}
	env := make([]*byte, 1)
	p.keep = append(p.keep, words, env)
	return asm.Step{Nr: unix.SYS_EXECVE, Args: [6]uintptr{addr(words[0]), addr(&words[0]), addr(&env[0])}}
}

// write is the step that writes v, which must be on the heap.
func write[T any](fd int, v *T) asm.Step {
	return asm.Step{Nr: unix.SYS_WRITE, Args: [6]uintptr{uintptr(fd), addr(v), unsafe.Sizeof(*v)}}
}

func addr[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }
