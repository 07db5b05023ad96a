//go:build linux

package main

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An action is the kernel's struct sigaction, or larger. It begins with the
// handler on all machines that vspawn can start a program on. All zero, it is
// the default action.
type action [4]uint64

// ignore is SIG_IGN.
var ignore = action{1}

func (a *action) ignores() bool { return *(*uintptr)(unsafe.Pointer(a)) == 1 }

// setAction sets a signal's action, and gives what it was.
func setAction(s syscall.Signal, a action) (was action) {
	sigaction(s, &a, &was)
	return was
}

// ignored tells whether the kernel drops a signal to us. signal.Ignored does
// not know of those that the runtime leaves alone.
func ignored(s syscall.Signal) bool {
	var a action
	sigaction(s, nil, &a)
	return a.ignores()
}

func sigaction(s syscall.Signal, a, was *action) {
	const setSize = 8 // of the kernel's signal set
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(a)), uintptr(unsafe.Pointer(was)),
		setSize, 0, 0)
	runtime.KeepAlive(a)
	runtime.KeepAlive(was)
}
