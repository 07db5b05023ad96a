package vspawn

import (
	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// undump is the child's step that turns the flag off.
var undump = op{call: sysPrctl, flags: asm.Tolerate,
	args: []arg{name("PR_SET_DUMPABLE", unix.PR_SET_DUMPABLE), dec(0)}}

// redumps tells whether the flag may be on behind o: the kernel sets it to
// fs.suid_dumpable when credentials change, which need not be 0, and enter may
// have left it on for the sake of a file below /proc/self.
func (o *op) redumps() bool {
	return changesCredentials(o.nr) || o.field == "OOMScoreAdj" && o.call == sysDup3 // it is open
}

// changesCredentials tells whether a system call may.
func changesCredentials(nr uintptr) bool {
	switch nr {
	case unix.SYS_SETUID, unix.SYS_SETREUID, unix.SYS_SETFSUID, nrSetresuid,
		unix.SYS_SETGID, unix.SYS_SETREGID, unix.SYS_SETFSGID, nrSetresgid,
		unix.SYS_CAPSET, unix.SYS_SETNS, unix.SYS_UNSHARE:
		return true
	}
	return false
}
