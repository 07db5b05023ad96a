//go:build linux && !386 && !arm

package vspawn

import "golang.org/x/sys/unix"

const (
	nrSetgroups = unix.SYS_SETGROUPS
	nrSetresgid = unix.SYS_SETRESGID
	nrSetresuid = unix.SYS_SETRESUID
)
