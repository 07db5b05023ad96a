//go:build linux

package tests

import (
	"context"
	"maps"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vspawn/vspawn/vspawn"
	"golang.org/x/sys/unix"
)

// leavesNothing runs f as a subtest, and checks that after it there is no
// child, and no more descriptors and goroutines than before.
func leavesNothing(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	warmUp(t)
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	t.Run(name, f)
	if after := openFiles(t); !maps.Equal(files, after) {
		t.Errorf("%s: the descriptors were %v, and are %v", name, files, after)
	}
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
	if err != unix.ECHILD {
		t.Errorf("%s: a child is left: waitid answers %v, not ECHILD", name, err)
	}
	for range 10_000 { // one that is about to end is all right
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		time.Sleep(time.Millisecond)
	}
	stacks := make([]byte, 64<<10)
	t.Errorf("%s: there were %d goroutines, and are %d:\n%s", name, goroutines, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
}

// openFiles are the open descriptors and what they refer to.
func openFiles(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]string{}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			open[e.Name()] = to
		}
	}
	return open
}

var warm sync.Once

// warmUp has the runtime and vspawn start what they keep.
func warmUp(t *testing.T) {
	t.Helper()
	warm.Do(func() {
		t.Run("warm up", func(t *testing.T) {
			p := waiting(t, &vspawn.Attr{Pdeathsig: unix.SIGKILL})
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			p.Wait(ended)
			p.WaitFor(ended, vspawn.Stopped)
		})
	})
}
