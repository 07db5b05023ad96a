//go:build linux

package vspawn

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// parentThread is the thread that has a child, as the kernel lists it.
func parentThread(pid int) string {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, l := range lists {
		if pids, _ := os.ReadFile(l); slices.Contains(strings.Fields(string(pids)), itoa(pid)) {
			return l
		}
	}
	return ""
}

// offMainThread runs f on another thread than the first, which goes on to exist.
func offMainThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if unix.Gettid() == unix.Getpid() {
			offMainThread(f)
			return
		}
		f()
	}()
	<-done
}

// What ends a thread ends none that has children: they would get the signal at their
// parent's death, and pass to the main thread, where a Reaper takes them for orphans.
func TestInThreadSparesParents(t *testing.T) {
	helper.SkipEmulated(t, "list of children")
	for range helper.Rounds(20) {
		var p *Process
		offMainThread(func() { p = startSleep(t, nil) })
		parent := parentThread(p.Pid())
		if parent == "" {
			p.Kill()
			p.Wait(t.Context())
			t.Skip("the kernel does not list children (CONFIG_PROC_CHILDREN)")
		}
		for range 20 {
			inThread(func() {})
		}
		if now := parentThread(p.Pid()); now != parent {
			t.Errorf("the child's parent was %s, and is %s", parent, now)
		}
		p.Kill()
		if _, err := p.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
