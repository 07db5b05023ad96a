//go:build linux

package tests

import (
	"context"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// leavesNothing runs f as a subtest, and checks that after it there is no
// child, and no more descriptors and goroutines than before.
func leavesNothing(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	warmUp(t)
	files := openFiles()
	for end := time.Now().Add(time.Minute); momentary(files) && time.Now().Before(end); files = openFiles() {
		time.Sleep(time.Millisecond)
	}
	goroutines := runtime.NumGoroutine()
	t.Run(name, f)
	// One that is open for a moment is all right, but not that the collector closes it.
	collects := debug.SetGCPercent(-1)
	defer debug.SetGCPercent(collects)
	after := openFiles()
	for end := time.Now().Add(time.Minute); !maps.Equal(files, after) && time.Now().Before(end); after = openFiles() {
		time.Sleep(time.Millisecond)
	}
	if !maps.Equal(files, after) {
		t.Errorf("%s: the descriptors were %v, and are %v", name, files, after)
	}
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
	if err != unix.ECHILD {
		t.Errorf("%s: a child is left: waitid answers %v, not ECHILD", name, err)
	}
	for range 60_000 { // one that is about to end is all right
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		time.Sleep(time.Millisecond)
	}
	stacks := make([]byte, 64<<10)
	t.Errorf("%s: there were %d goroutines, and are %d:\n%s", name, goroutines, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
}

// momentary tells whether vspawn is just looking at the process's children, as it does
// behind a start with other credentials.
func momentary(files map[string]string) bool {
	for _, to := range files {
		if strings.HasPrefix(to, "/proc/") {
			return true
		}
	}
	return false
}

// libcFiles are what glibc's malloc reads as a thread's first block is taken, in a
// binary with cgo. Another thread may be at it at any time.
var libcFiles = []string{
	"/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm/overcommit_memory",
	"/sys/devices/system/cpu", "/sys/devices/system/cpu/online", "/sys/devices/system/cpu/possible",
}

// openFiles are the open descriptors and what they refer to, but for those of libc.
func openFiles() map[string]string {
	open := helper.OpenFiles()
	maps.DeleteFunc(open, func(_, to string) bool { return slices.Contains(libcFiles, to) })
	return open
}

// A descriptor that is open for a moment, whoever has it, is no leak, and none is one
// that libc has open as the test begins.
func TestLeavesNothingMomentary(t *testing.T) {
	cpus, err := os.Open("/proc/stat")
	if err != nil {
		t.Skip(err)
	}
	leavesNothing(t, "momentary", func(t *testing.T) {
		cpus.Close()
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(20*time.Millisecond, func() { null.Close() })
	})
}

var warm sync.Once

// warmUp has the runtime and vspawn start what they keep.
func warmUp(t *testing.T) {
	t.Helper()
	warm.Do(func() {
		// Not in a subtest, which is left out where another is chosen.
		p, err := start(t, helper.Emulate(tiny.Sleep(t)), &vspawn.Attr{Pdeathsig: unix.SIGKILL})
		if err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		p.Wait(ended)
		p.WaitFor(ended, vspawn.Stopped)
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		wait(t, p, "signal: killed")
	})
}
