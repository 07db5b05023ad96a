//go:build linux

// Package tests shows what must hold wherever vspawn runs: on the host, and in
// every guest, as root below PID 1, with no Go toolchain and no shell. A test's
// comment states the promise.
//
// A child that is to say what it was given is a puppet, see package tiny: it
// costs a tenth of a Go program in an emulated machine, and changes nothing
// of what it got. Where a Go program is needed it is the test binary itself, see
// package helper. A run fails if it leaves a child or a descriptor behind. The rig sets VSPAWN_INLINING to
// on or off, for how it has built the binary.
package tests

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

func TestMain(m *testing.M) { helper.Main(m) }

// withoutSignals runs f on a thread on which all signals are blocked.
func withoutSignals(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		panic(err)
	}
	f()
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
		panic(err)
	}
}
