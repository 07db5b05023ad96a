//go:build linux

// Package naive is the control of the tests of asm.Vfork: a vfork that leaves
// its return address on the stack, where the child overwrites it. The parent
// then returns to wherever the child last did (golang/go#71892).
package naive

import "golang.org/x/sys/unix"

//lint:file-ignore U1000 the assembly has these from go_asm.h

const (
	sysClone   = unix.SYS_CLONE
	vforkFlags = unix.CLONE_VM | unix.CLONE_VFORK | int(unix.SIGCHLD)
)

// Vfork is asm.Vfork without its one precaution.
func Vfork() (r uintptr)

// Smash writes its return address to the 32 words below its caller's frame.
func Smash()
