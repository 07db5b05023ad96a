//go:build linux

package vspawn

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// disposition is what a signal does to this process: its handler, sigDfl or sigIgn.
func disposition(s unix.Signal) (handler uint64, errno unix.Errno) {
	var act [sigactionWords]uint64
	_, _, errno = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), 0, uintptr(unsafe.Pointer(&act)), sigsetSize, 0, 0)
	return act[0], errno
}
