//go:build linux

// Package nofile remembers the limit of open descriptors that the process was
// started with.
//
// Package syscall raises the soft limit when it is initialized, and keeps the
// old one to itself, for its own children. This package reads it before that:
// packages are initialized in the order of their import paths as soon as all
// that they import has been (Go specification, "Program initialization"), and
// this one imports nothing, and lies before "syscall".
package nofile

import "unsafe"

// Limit is a struct rlimit64.
type Limit struct{ Soft, Hard uint64 }

// Start is RLIMIT_NOFILE as it was at the process's start. Both zero means
// that it could not be read.
var Start Limit

const rlimitNofile = 7

func init() {
	rawSyscall6(sysPrlimit64, 0, rlimitNofile, 0, uintptr(unsafe.Pointer(&Start)), 0, 0)
}

// Linked by name, since to import package syscall would be to come after it.
//
//go:linkname rawSyscall6 syscall.RawSyscall6
//go:nosplit
func rawSyscall6(nr, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2, errno uintptr)
