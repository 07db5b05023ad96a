//go:build linux

package vspawn

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A thread without capabilities, in a process that has some, is privileged: its
// memory is theirs.
func TestPrivileged(t *testing.T) {
	if !privileged() {
		t.Skip("this process has no capabilities")
	}
	done := make(chan bool)
	var look func()
	look = func() {
		runtime.LockOSThread() // for good: the thread ends
		if unix.Gettid() == os.Getpid() {
			go look()
			<-done
			runtime.UnlockOSThread()
			return
		}
		defer close(done)
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Error("capset: ", err)
		}
		if !privileged() {
			t.Error("a thread that has given up its capabilities passes for all")
		}
	}
	go look()
	<-done
}
