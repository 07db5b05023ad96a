package vspawn

import (
	"errors"
	"runtime"
)

// errUnsupported is why nothing starts where there is no stub.
var errUnsupported = &Error{Step: "start", Err: errors.ErrUnsupported,
	Hint: "vspawn needs Linux, and has nothing for " + runtime.GOOS + "/" + runtime.GOARCH}

// A FeatureSet is what this kernel, or the sandbox around it, offers.
type FeatureSet struct {
	Clone3            bool // clone3 (Linux 5.3): needed for Cgroup and CLONE_NEWTIME
	ClearSighand      bool // CLONE_CLEAR_SIGHAND (5.5): else a system call for each caught signal
	SharedMemory      bool // vfork shares memory; it does not under qemu-user
	CloseRangeUnshare bool // close_range with CLOSE_RANGE_UNSHARE (5.9): else the table is copied
	CloseRangeCloexec bool // close_range with CLOSE_RANGE_CLOEXEC (5.11): else a system call for each descriptor
	LoneCoreDump      bool // a child that dumps core dies alone (5.16): else our memory is not dumpable during a start
	MMU               bool // without one each program is one block of memory, and no stack grows
	Pidfd             bool // waiting and signalling by pidfd (5.4): else a wait holds a thread
	Autokill          bool // CLONE_PIDFD_AUTOKILL (7.1): else DieWithParent is a signal at the parent's death

	recall bool // a thread can be taken back from waitid (5.10): see brief
}
