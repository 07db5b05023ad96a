//go:build linux

package vspawn

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// deathSignal is what this thread gets when its parent dies, or 0.
func deathSignal() (s int32) {
	unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&s)), 0, 0, 0, 0)
	return s
}
