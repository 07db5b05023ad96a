//go:build linux

package vspawn

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfo is the part of the kernel's siginfo_t that waitid fills in
// (include/uapi/asm-generic/siginfo.h).
type siginfo struct {
	signo  int32
	errno  int32
	code   int32
	_      [unsafe.Sizeof(uintptr(0)) - 4]byte // the union is aligned like a pointer
	pid    int32
	uid    uint32
	status int32
	_      [128]byte
}

// waitid is waitid(2) with all five arguments.
func waitid(idType, id int, info *siginfo, options int, ru *syscall.Rusage) error {
	_, _, errno := unix.Syscall6(unix.SYS_WAITID, uintptr(idType), uintptr(id),
		uintptr(unsafe.Pointer(info)), uintptr(options), uintptr(unsafe.Pointer(ru)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Reasons for SIGCHLD: siginfo's code.
const (
	cldExited    = 1
	cldKilled    = 2
	cldDumped    = 3
	cldTrapped   = 4
	cldStopped   = 5
	cldContinued = 6
)

// waitStatus is the status in wait4's encoding.
func (i *siginfo) waitStatus() syscall.WaitStatus {
	const coreFlag, stopped, continued = 0x80, 0x7f, 0xffff
	switch s := syscall.WaitStatus(i.status); i.code {
	case cldExited:
		return s & 0xff << 8
	case cldDumped:
		return s | coreFlag
	case cldStopped, cldTrapped:
		return s<<8 | stopped
	case cldContinued:
		return continued
	default: // cldKilled
		return s
	}
}

// over tells of an end, and not of a stop.
func (i *siginfo) over() bool {
	return i.pid != 0 && (i.code == cldExited || i.code == cldKilled || i.code == cldDumped)
}
