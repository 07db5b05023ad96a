//go:build linux

package vspawn

import (
	"runtime"
	"testing"
)

// The runtime still says in the head of a stack's print whether the goroutine is
// locked to its thread; if it did not, every start with Pdeathsig would be from
// the calling thread.
func TestLocked(t *testing.T) {
	if !headTells() {
		t.Error("the runtime does not say whether a goroutine is locked")
	}
	done := make(chan bool)
	go func() { // the test's own may be locked
		defer close(done)
		if lockedThread() {
			t.Error("a new goroutine passes for locked")
		}
		runtime.LockOSThread()
		runtime.LockOSThread()
		runtime.UnlockOSThread()
		if !lockedThread() {
			t.Error("one that is locked passes for one that is not")
		}
		runtime.UnlockOSThread()
		if lockedThread() {
			t.Error("one that was locked still passes for it")
		}
	}()
	<-done
}

func BenchmarkLocked(b *testing.B) {
	for b.Loop() {
		lockedThread()
	}
}
