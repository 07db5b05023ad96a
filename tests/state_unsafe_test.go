//go:build linux

package tests

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func signalMask() (set uint64) {
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(&set)), 8, 0, 0)
	return set
}

// bytesOf is the memory of *v.
func bytesOf[T any](v *T) []byte { return bytesOfAll(unsafe.Slice(v, 1)) }

func bytesOfAll[T any](v []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(*new(T))))
}

// coreCookie is that of the calling thread: 0 if it shares its core with any.
func coreCookie() (cookie uint64, err error) {
	_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_GET, 0,
		unix.PR_SCHED_CORE_SCOPE_THREAD, uintptr(unsafe.Pointer(&cookie)), 0)
	if errno != 0 {
		return 0, errno
	}
	return cookie, nil
}

// defaultAction undoes what the Go runtime has done about a signal, which
// os/signal does not do for faults.
func defaultAction(s unix.Signal) {
	var act [4]uint64 // handler, flags, (restorer,) mask: all zero is SIG_DFL
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
}

// touch writes to the byte at an address that is not Go's.
func touch(at uintptr) { *(*byte)(unsafe.Add(unsafe.Pointer(nil), at)) = 1 }
