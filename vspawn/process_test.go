//go:build linux

package vspawn

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// A closed Process is no longer waited for, and its child is anyone's.
func TestClose(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			p := startSleep(t, nil)
			ways := map[string]func() error{
				"Wait":     func() error { _, err := p.Wait(t.Context()); return err },
				"WaitExit": func() error { return p.WaitExit(t.Context()) },
				"WaitFor":  func() error { _, err := p.WaitFor(t.Context(), Stopped|Exited); return err },
			}
			waiting := make(chan error, len(ways))
			for name, way := range ways {
				go func() {
					err := way()
					if err != os.ErrClosed {
						err = fmt.Errorf("%s under way returned %v", name, err)
					}
					waiting <- err
				}()
			}
			for there := false; !there; runtime.Gosched() {
				p.mu.Lock()
				there = p.ended != nil && p.let != nil
				p.mu.Unlock()
			}
			if err := p.Signal(0); err != nil {
				t.Error(err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			for range ways {
				if err := <-waiting; err != os.ErrClosed {
					t.Error(err)
				}
			}
			for name, way := range ways {
				if err := way(); err != os.ErrClosed {
					t.Errorf("%s afterwards returned %v", name, err)
				}
			}
			if err := unix.Kill(p.Pid(), unix.SIGKILL); err != nil {
				t.Error(err)
			}
			if _, err := unix.Wait4(p.Pid(), nil, 0, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// At whatever moment of a wait it is closed, the wait does not say that the
// child has ended.
func TestCloseAnyTime(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			for i := range helper.Rounds(30) {
				p := startSleep(t, nil)
				waiting := make(chan error)
				go func() { waiting <- p.WaitExit(t.Context()) }()
				for range i * i {
					runtime.Gosched()
				}
				p.Close()
				if err := <-waiting; err != os.ErrClosed {
					t.Errorf("the wait returned %v", err)
				}
				unix.Kill(p.Pid(), unix.SIGKILL)
				if _, err := unix.Wait4(p.Pid(), nil, 0, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A child that has failed, and is held by a tracer of its own user, does not hold
// up who has started it. It is reaped when its tracer lets go.
func TestDiscardTraced(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	p := startSleep(t, nil)
	tracer := holdsZombie.Command(itoa(p.pid))
	in, err := tracer.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := tracer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	defer tracer.Wait()
	defer in.Close()
	said := make([]byte, 16)
	if n, _ := out.Read(said); string(said[:n]) != "held" {
		t.Skipf("no tracer may hold it: %q", said[:n])
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	p.discard()
	if !switched(p.pid) {
		t.Error("a zombie counts as one that shares our memory")
	}
	var info siginfo
	if err := waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil || info.pid != 0 {
		t.Errorf("the tracer does not hold it: %v, %+v", err, info)
	}
	in.Close()
	soon(t, "the end of the zombie", func() bool {
		return waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == unix.ECHILD
	})
}

// holdsZombie traces a process, and lets go of it when its input ends.
var holdsZombie = helper.New("holds zombie", func(args []string) int {
	runtime.LockOSThread()
	var pid int
	fmt.Sscan(args[0], &pid)
	if err := unix.PtraceSeize(pid); err != nil {
		fmt.Print(err)
		return 1
	}
	fmt.Print("held")
	io.Copy(io.Discard, os.Stdin)
	return 0
})
