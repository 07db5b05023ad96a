//go:build linux && (386 || arm)

package vspawn

import "golang.org/x/sys/unix"

// The calls without the suffix take 16-bit ids on these.
const (
	nrSetgroups = unix.SYS_SETGROUPS32
	nrSetresgid = unix.SYS_SETRESGID32
	nrSetresuid = unix.SYS_SETRESUID32
)
