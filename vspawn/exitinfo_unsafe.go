//go:build linux

package vspawn

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pidfdInfo is struct pidfd_info as Linux 6.13 had it (include/uapi/linux/pidfd.h).
type pidfdInfo struct {
	mask     uint64
	cgroupID uint64
	pid      uint32
	tgid     uint32
	ppid     uint32
	ids      [8]uint32
	exitCode int32
}

// pidfdExit tells how the process behind a pidfd has ended, if it has been reaped
// (PIDFD_INFO_EXIT, Linux 6.15). Before that it gives no error, or ESRCH.
func pidfdExit(fd int) (ws syscall.WaitStatus, over bool, err error) {
	const (
		infoExit = 1 << 3                                                // PIDFD_INFO_EXIT
		getInfo  = 3<<30 | unsafe.Sizeof(pidfdInfo{})<<16 | 0xff<<8 | 11 // _IOWR(PIDFS_IOCTL_MAGIC, 11, …)
	)
	info := &pidfdInfo{mask: infoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getInfo, uintptr(unsafe.Pointer(info)))
	switch {
	case errno == unix.ESRCH:
		return 0, false, nil
	case errno != 0:
		return 0, false, errno
	}
	return syscall.WaitStatus(info.exitCode), info.mask&infoExit != 0, nil
}
