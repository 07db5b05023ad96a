//go:build linux

package tests

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// secret is what no one but the victim may know, and beside it what no one but
// the victim may change. Other processes of this program have zeros there.
var secret = &struct{ read, write uint64 }{}

func secretAddress() uintptr { return uintptr(unsafe.Pointer(secret)) }

// peek reads a word of another process's memory.
func peek(pid int, at uintptr) (v uint64, err error) {
	local := []unix.Iovec{{Base: (*byte)(unsafe.Pointer(&v)), Len: 8}}
	_, err = unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: at, Len: 8}}, 0)
	return v, err
}

// poke writes one.
func poke(pid int, at uintptr, v uint64) error {
	local := []unix.Iovec{{Base: (*byte)(unsafe.Pointer(&v)), Len: 8}}
	_, err := unix.ProcessVMWritev(pid, local, []unix.RemoteIovec{{Base: at, Len: 8}}, 0)
	return err
}

func timespecAddress(ts *unix.Timespec) uintptr { return uintptr(unsafe.Pointer(ts)) }
