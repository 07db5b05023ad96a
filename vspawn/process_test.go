//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/tests/helper"
	"github.com/vspawn/vspawn/tests/seccomp"
	"github.com/vspawn/vspawn/tests/tiny"
)

// All who wait get the same state, then and later.
func TestWaitTogether(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			p := startHelper(t, &Attr{Files: []File{{Child: 0, File: r}}}, cat)
			r.Close()
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
						t.Error(s, err)
					}
				})
			}
			w.Close() // the child's end of input
			wg.Wait()
			if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
				t.Error(s, err)
			}
			if err := p.Kill(); err != os.ErrProcessDone {
				t.Errorf("Kill of a reaped child: %v", err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A wait can be given up, and taken up again.
func TestWaitContext(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			p := startSleep(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := p.Wait(ctx); err != context.Canceled {
				t.Errorf("got %v", err)
			}
			if err := p.Kill(); err != nil {
				t.Error(err)
			}
			if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL || !s.Signaled() {
				t.Error(s, err)
			}
		})
	}
}

// Each stop and each continuation is seen once.
func TestWaitFor(t *testing.T) {
	helper.SkipEmulated(t, "WCONTINUED")
	p := startSleep(t, nil)
	for range 3 {
		p.Signal(unix.SIGSTOP)
		if s, err := p.WaitFor(t.Context(), Stopped|Exited); err != nil || !s.Stopped() || s.Signal() != unix.SIGSTOP {
			t.Error(s, err)
		}
		p.Signal(unix.SIGCONT)
		if s, err := p.WaitFor(t.Context(), Continued|Exited); err != nil || !s.Continued() {
			t.Error(s, err)
		}
	}
	p.Kill()
	if s, err := p.WaitFor(t.Context(), Exited); err != nil || s.Signal() != unix.SIGKILL {
		t.Error(s, err)
	}
	if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL {
		t.Error(s, err)
	}
	if _, err := p.WaitFor(t.Context(), 0); err == nil {
		t.Error("a wait for nothing")
	}
}

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

// The end of a child is told to who waits for a stop, which it will not come to.
// It takes no status.
func TestWaitForEnded(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			p := startArgv(t, nil, exits(t, 7))
			if err := ignoringEINTR(func() error { return unix.Waitid(unix.P_PID, p.Pid(), nil, unix.WEXITED|unix.WNOWAIT, nil) }); err != nil {
				t.Error(err)
			}
			for range 2 {
				if s, err := p.WaitFor(t.Context(), Stopped); err != nil || s.ExitCode() != 7 {
					t.Errorf("got %v, %v, want exit status 7", s, err)
				}
			}
			if s, err := p.Wait(t.Context()); err != nil || s.ExitCode() != 7 {
				t.Errorf("Wait then gave %v, %v", s, err)
			}
			if s, err := p.WaitFor(t.Context(), Stopped); err != nil || s.ExitCode() != 7 {
				t.Errorf("and once it is reaped %v, %v", s, err)
			}

			p = startSleep(t, nil)
			waiting := make(chan error)
			go func() {
				s, err := p.WaitFor(t.Context(), Continued)
				if err == nil && s.Signal() != unix.SIGKILL {
					err = fmt.Errorf("got %v", s)
				}
				waiting <- err
			}()
			for there := false; !there; runtime.Gosched() {
				p.mu.Lock()
				there = p.let != nil
				p.mu.Unlock()
			}
			p.Kill()
			if err := <-waiting; err != nil {
				t.Error(err)
			}
			if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL {
				t.Error(s, err)
			}
		})
	}
}

// A system that refuses to let us wait has not taken the child away, nor has
// the child ended.
func TestWaitRefused(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	for _, pidfd := range []string{"pidfd", "no pidfd"} {
		t.Run(pidfd, func(t *testing.T) {
			if out, err := refusedWait.Command(pidfd, tiny.Sleep(t)).Output(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// refused waits where waitid is forbidden. Its arguments say whether to do so by
// pidfd, and name a program that sleeps.
var refusedWait = helper.New("refused", func(args []string) int {
	f, err := Features()
	if err != nil {
		return complain(err)
	}
	if args[0] == "no pidfd" {
		f.Pidfd = false
		features.found.Store(&f)
	}
	ctx := context.Background()
	p, err := Start(ctx, args[1], nil, nil)
	if err != nil {
		return complain(err)
	}
	if err := seccomp.Deny(unix.EPERM, unix.SYS_WAITID); err != nil {
		return complain(err)
	}
	if !f.Pidfd {
		for range 2 {
			if err := p.WaitExit(ctx); !errors.Is(err, unix.EPERM) {
				return complain("WaitExit of a living child gave ", err)
			}
		}
	}
	if s, err := p.WaitFor(ctx, Stopped); !errors.Is(err, unix.EPERM) {
		return complain("WaitFor gave ", s, err)
	}
	if err := p.Kill(); err != nil {
		return complain("kill: ", err)
	}
	for range 2 {
		if s, err := p.Wait(ctx); !errors.Is(err, unix.EPERM) {
			return complain("Wait gave ", s, err)
		}
	}
	if err := p.Signal(0); err != nil {
		return complain("it is lost: ", err)
	}
	if _, err := unix.Wait4(p.Pid(), nil, 0, nil); err != nil {
		return complain("wait4: ", err)
	}
	if err := p.Close(); err != nil {
		return complain("close: ", err)
	}
	return 0
})

// A child whose status someone else has taken is an error, not a hang.
func TestWaitStolen(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			p := startArgv(t, nil, exits(t, 0))
			if _, err := unix.Wait4(p.Pid(), nil, 0, nil); err != nil {
				t.Fatal(err)
			}
			_, err := p.Wait(t.Context())
			if !errors.Is(err, unix.ECHILD) || !strings.Contains(err.Error(), "someone else") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Waits hold no thread: with ten thousand children waited for the process has
// ten more of them at most.
func TestWaitsHoldNoThread(t *testing.T) {
	f, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	if !f.Pidfd {
		t.Skip("no pidfd here: a wait holds a thread")
	}
	helper.SkipEmulated(t, "room for so many children, each with an emulator")
	children := 10_000
	if os.Getenv("VSPAWN_TARGET") != "" || raceEnabled { // where there is little memory, or all is slow
		children = 200
	}
	program := tiny.Sleep(t)
	before := threads(t)
	var wg sync.WaitGroup
	var all []*Process
	for range children {
		p, err := Start(t.Context(), program, nil, nil)
		if errors.Is(err, unix.EAGAIN) {
			t.Logf("the system allows %d children: %v", len(all), err)
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
		wg.Go(func() {
			if _, err := p.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	now := threads(t)
	t.Logf("%d threads for %d waits, %d before", now, len(all), before)
	if now > before+10 || len(all) < 100 {
		t.Error("too many threads, or too few children")
	}
	for _, p := range all {
		p.Kill()
	}
	wg.Wait()
}

func threads(t *testing.T) int {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir)
}

// A child that WaitExit has waited for is there to be reaped by another.
func TestWaitExit(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			p := startSleep(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := p.WaitExit(ctx); err != context.Canceled {
				t.Errorf("got %v", err)
			}
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := p.WaitExit(t.Context()); err != nil {
				t.Fatal(err)
			}
			other, err := os.FindProcess(p.Pid())
			if err != nil {
				t.Fatal(err)
			}
			s, err := other.Wait()
			if err != nil || s.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
				t.Error(s, err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
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
