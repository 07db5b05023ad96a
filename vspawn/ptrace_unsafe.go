//go:build linux

package vspawn

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ptrace is ptrace(2) with its bare words.
func ptrace(request, pid int, addr, data uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), addr, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// ptraceSiginfo tells what has stopped a process; ESRCH is that nothing has.
func ptraceSiginfo(pid int, s *siginfo) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GETSIGINFO, uintptr(pid), 0,
		uintptr(unsafe.Pointer(s)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// ptraceSetMask sets the signal mask of a process that is stopped.
func ptraceSetMask(pid int, set uint64) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SETSIGMASK, uintptr(pid), sigsetSize,
		uintptr(unsafe.Pointer(&set)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func schedYield() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
