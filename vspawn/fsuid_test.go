//go:build linux

package vspawn

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The main thread's parent-death signal is this process's, and a change of its file
// system id would take it off.
func TestAsRootNotOnMainThread(t *testing.T) {
	was := dumpable.get()
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
