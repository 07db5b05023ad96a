//go:build linux

package vspawn

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// The main thread's parent-death signal is this process's, and a change of its file
// system id would take it off.
func TestAsRootNotOnMainThread(t *testing.T) {
	was := settled(t)
	defer dumpable.set(was)
	main, others := false, 0
	release := make(chan struct{})
	defer close(release)
	for i := 0; i < 50 && !main; i++ { // each holds a thread
		looked := make(chan bool)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			main := unix.Gettid() == os.Getpid()
			if main {
				asRoot(func() {
					if others++; unix.Gettid() == os.Getpid() {
						t.Error("it is the main thread")
					}
				})
			}
			looked <- main
			<-release
		}()
		main = <-looked
	}
	switch {
	case !main:
		t.Skip("the main thread is busy")
	case others == 0:
		t.Skip("no CAP_SETUID, no /proc, or fs.suid_dumpable is 1")
	}
}

// To open a file as root takes nothing from the thread that asks for it: neither the
// signal at its parent's death, which the kernel takes off who changes such an id, nor
// a capability.
func TestAsRootKeepsThread(t *testing.T) {
	helper.SkipEmulated(t, "setfsuid of a thread's own")
	if os.Geteuid() != 0 {
		t.Skip("only root can become another for files")
	}
	defer dumpable.set(dumpable.get()) // which the kernel turns off for the same reason
	inThread(func() {
		unix.SetfsuidRetUid(54321)
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGURG), 0, 0, 0); err != nil {
			t.Error(err)
		}
		ran := false
		if asRoot(func() { ran = true }) != ran {
			t.Errorf("it has run: %v", ran)
		}
		if !ran {
			t.Log("fs.suid_dumpable forbids it")
		}
		if id, _ := unix.SetfsuidRetUid(-1); id != 54321 {
			t.Errorf("the thread's id for files is %d", id)
		}
		if s := deathSignal(); s != int32(unix.SIGURG) {
			t.Errorf("the signal at the parent's death is %d", s)
		}
	})
}
