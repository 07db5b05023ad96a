//go:build linux

package exec

import (
	"syscall"
	"unsafe"

	"github.com/vspawn/vspawn/vspawn"
)

// capget gives the capabilities of this thread.
func capget() (effective, permitted vspawn.CapSet, err error) {
	const version3 = 0x20080522 // linux/capability.h
	header := struct {
		version uint32
		pid     int32
	}{version: version3}
	var data [2]struct{ effective, permitted, inheritable uint32 }
	_, _, errno := syscall.RawSyscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&header)),
		uintptr(unsafe.Pointer(&data)), 0)
	if errno != 0 {
		return 0, 0, errno
	}
	both := func(low, high uint32) vspawn.CapSet { return vspawn.CapSet(low) | vspawn.CapSet(high)<<32 }
	return both(data[0].effective, data[1].effective), both(data[0].permitted, data[1].permitted), nil
}
