//go:build linux

package exec

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// enteredCall is the number of the system call that a stopped thread is about
// to make; it is not ok where the thread comes back from one, or was killed in its
// stop by the end of the process.
func enteredCall(tid int) (nr int, ok bool) {
	const entry = 1 // PTRACE_SYSCALL_INFO_ENTRY
	var info struct {
		op     uint8
		_      [23]byte
		nr     uint64
		others [6]uint64
	}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info),
		uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno == unix.ESRCH {
		return 0, false
	}
	if errno != 0 {
		panic("PTRACE_GET_SYSCALL_INFO: " + errno.Error())
	}
	return int(info.nr), info.op == entry
}
