//go:build linux

package faults

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// passed are system calls that nobody is asked about: the process could not hand the
// listener over else, and of the rest the runtime makes many, by code of its own.
var passed = []uint32{
	unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_FUTEX, unix.SYS_EPOLL_PWAIT, unix.SYS_NANOSLEEP, unix.SYS_RT_SIGRETURN,
	unix.SYS_SIGALTSTACK, unix.SYS_TGKILL, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_SCHED_YIELD,
}

// stubStatus is what a child of package asm's ends with. Its exit_group is held; any
// other passes, so that a program can end where there is nobody to answer any more.
const stubStatus = 127

// Listen puts all threads of this process, and all processes that it starts, under a
// filter: each system call is held, but for those of passed, until who has the
// listener says how it goes on. That takes Linux 5.7.
func Listen() (listener int, err error) {
	const nr, pcHigh, arg0 = 0, 12, 16 // offsets in struct seccomp_data, little-endian
	filter := []unix.SockFilter{
		// What comes from elsewhere than this program would only be let go on.
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: pcHigh},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(uint64(Origin()) >> 32), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nr},
	}
	for _, call := range passed {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_EXIT_GROUP, Jf: 3},
		unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: arg0},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: stubStatus, Jt: 1},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	prog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC |
		unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	// Without it a signal makes a call that is held begin again (Linux 5.19).
	const killable = unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	fd, errno := setFilter(flags|killable, prog)
	if errno == unix.EINVAL {
		fd, errno = setFilter(flags, prog)
	}
	if errno == unix.EACCES { // without CAP_SYS_ADMIN
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return -1, fmt.Errorf("prctl(PR_SET_NO_NEW_PRIVS): %w", err)
		}
		if fd, errno = setFilter(flags|killable, prog); errno == unix.EINVAL {
			fd, errno = setFilter(flags, prog)
		}
	}
	if errno != 0 {
		return -1, fmt.Errorf("seccomp: %w", errno)
	}
	return fd, nil
}

func setFilter(flags uintptr, prog *unix.SockFprog) (int, unix.Errno) {
	r, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(prog)))
	return int(r), errno
}

// A notification is struct seccomp_notif.
type notification struct {
	id    uint64
	pid   uint32 // the thread's
	flags uint32
	nr    int32
	arch  uint32
	pc    uint64 // behind the call
	args  [6]uint64
}

// An answer is struct seccomp_notif_resp.
type answer struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// receive takes the next call that is held. ENOENT is that it has gone meanwhile.
func receive(listener int) (n notification, err error) {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV,
		uintptr(unsafe.Pointer(&n)))
	if errno != 0 {
		return n, errno
	}
	return n, nil
}

// let has a call fail with errno, or go on if that is 0. ENOENT is that it has gone.
func (n *notification) let(listener int, errno unix.Errno) error {
	a := answer{id: n.id, errno: -int32(errno)}
	if errno == 0 {
		a.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	}
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND,
		uintptr(unsafe.Pointer(&a)))
	if e != 0 {
		return e
	}
	return nil
}
