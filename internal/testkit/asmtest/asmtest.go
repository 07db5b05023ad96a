//go:build linux

// Package asmtest builds [asm.Program]s for tests: step by step, with nothing
// added.
package asmtest

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// A Program is an asm.Program with its steps.
type Program struct {
	asm.Program
	List []asm.Step // Steps is its address: change it, but do not append to it

	keep []any
}

// A Create sets p.Create.
type Create func(p *Program)

// Creates are the two forms of clone, by name.
var Creates = []struct {
	Name   string
	Create Create
}{{"clone", Clone}, {"clone3", Clone3}}

// HasClone3 tells whether there is a clone3; qemu-user has none.
func HasClone3() bool {
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
	return errno != unix.ENOSYS
}

// Run runs p and waits for the child's end.
func (p *Program) Run() (pid int, ws unix.WaitStatus, err error) {
	pid = int(asm.Spawn(&p.Program))
	runtime.KeepAlive(p)
	if pid < 0 {
		return 0, 0, fmt.Errorf("Create: %w", unix.Errno(-pid))
	}
	ws, err = Wait(pid)
	return pid, ws, err
}

// Wait waits for the end of a child.
func Wait(pid int) (ws unix.WaitStatus, err error) {
	for {
		if _, err = unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			return ws, err
		}
	}
}

// Exit is the step that ends the child.
func Exit(status int) asm.Step {
	return asm.Step{Nr: unix.SYS_EXIT_GROUP, Args: [6]uintptr{uintptr(status)}}
}

// Errno is what a system call returns when it fails with e.
func Errno(e unix.Errno) uintptr { return -uintptr(e) }
