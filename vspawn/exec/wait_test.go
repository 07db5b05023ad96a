//go:build linux

package exec

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// A command whose Process alone is waited for leaves nothing behind.
func TestProcessWait(t *testing.T) {
	before := count(t, "/proc/self/fd")
	for range 10 {
		c := zero(t)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if s, err := c.Process.Wait(); err != nil || !s.Success() {
			t.Fatal(s, err)
		}
	}
	for count(t, "/proc/self/fd") > before {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
}

// Waiting holds no thread.
func TestThreads(t *testing.T) {
	features, err := vspawn.Features()
	if err != nil {
		t.Fatal(err)
	}
	if !features.Pidfd {
		t.Skip("the kernel has no pidfd")
	}
	children := helper.Rounds(100)
	before := count(t, "/proc/self/task")
	var wg sync.WaitGroup
	var all []*Cmd
	argv := helper.Emulate(tiny.Sleep(t))
	for range children {
		c := Command(argv[0], argv[1:]...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
		wg.Go(func() {
			if err := c.Wait(); err == nil || err.Error() != "signal: killed" {
				t.Error(err)
			}
		})
	}
	for range 100 { // all have long begun to wait
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
	if now := count(t, "/proc/self/task"); now > before+10 {
		t.Errorf("%d threads wait for %d children", now-before, children)
	}
	for _, c := range all {
		if err := c.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

func count(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A context ends the command, also by a Cancel of the caller's, and with
// WaitDelay whatever still holds its output.
func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	argv := cat.Argv()
	c := CommandContext(ctx, argv[0], argv[1:]...)
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer w.Close()
	c.Stdin = in
	c.Stdout = new(bytes.Buffer)
	c.Cancel = func() error { return errors.New("not now") }
	c.WaitDelay = time.Millisecond
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	cancel()
	var exit *ExitError
	if err := c.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("got %v", err)
	}
}

// A second Wait says the same as one that failed, also with a context, where
// os/exec waits for ever.
func TestWaitAgain(t *testing.T) {
	argv := helper.Emulate(tiny.Exit(t, 0))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := CommandContext(ctx, argv[0], argv[1:]...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	pid := c.Process.Pid
	if err := c.Process.Release(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Wait(); err != syscall.EINVAL {
			t.Errorf("got %v", err)
		}
	}
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
}
