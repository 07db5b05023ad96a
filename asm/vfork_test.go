//go:build linux

package asm_test

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
	"github.com/vspawn/vspawn/internal/testkit/asmtest"
)

// vfork makes a child that raises *counter and exits.
//
//go:nosplit
//go:norace
func vfork(counter *uintptr) (pid uintptr) {
	pid = asm.Vfork()
	if pid != 0 {
		return pid
	}
	*counter++
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 5, 0, 0)
	}
}

// Vfork returns once in each of parent and child.
func TestVfork(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range 20 {
		all := unix.Sigset_t{}
		for i := range all.Val {
			all.Val[i]--
		}
		var old unix.Sigset_t
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
			t.Fatal(err)
		}
		counter := uintptr(0)
		pid := vfork(&counter)
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
			t.Fatal(err)
		}
		if int(pid) <= 0 {
			t.Fatalf("Vfork = %d", int(pid))
		}
		ws, err := asmtest.Wait(int(pid))
		if err != nil {
			t.Fatal(err)
		}
		asmtest.CheckExit(t, ws, 5)
	}
}
