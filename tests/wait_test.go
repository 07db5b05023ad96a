//go:build linux

package tests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// What a child has used is told with its end.
func TestRusage(t *testing.T) {
	r, w := blockingPipe(t)
	p, err := start(t, spinHelper.Argv(),
		&vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: w}, {Child: 2, Parent: vspawn.FD(2)}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	out, _ := io.ReadAll(r)
	own, err := strconv.ParseInt(string(out), 10, 64)
	if err != nil {
		t.Error(err)
	}
	u := wait(t, p, "exit status 0").Rusage()
	if told := u.Utime.Nano() + u.Stime.Nano(); told < own || own < int64(spin) {
		t.Errorf("the child says that it took %v, its parent is told %v", time.Duration(own), time.Duration(told))
	}
	if u.Maxrss == 0 && helper.MMU() { // without one there is no such count
		t.Error("the child took no memory")
	}
}

const spin = 20 * time.Millisecond

// spinHelper takes some processor time and says how much.
var spinHelper = helper.New("spin", func([]string) int {
	for {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			panic(err)
		}
		if used := u.Utime.Nano() + u.Stime.Nano(); used > int64(spin) {
			fmt.Print(used)
			return 0
		}
	}
})

// A child that is stopped, and continued, is seen to be so, each once.
func TestStoppedAndContinued(t *testing.T) {
	helper.SkipEmulated(t, "threads that a stop signal stops")
	p := waiting(t, &vspawn.Attr{})
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errEnough)
	for range 2 {
		for _, change := range []struct {
			signal  unix.Signal
			wait    vspawn.Change
			want    string
			stopped bool
		}{
			{unix.SIGSTOP, vspawn.Stopped, "stopped: stopped (signal)", true},
			{unix.SIGCONT, vspawn.Continued, "continued", false},
		} {
			if err := p.Signal(change.signal); err != nil {
				t.Fatal(err)
			}
			s, err := p.WaitFor(t.Context(), change.wait|vspawn.Exited)
			if err != nil {
				t.Fatal(err)
			}
			if s.String() != change.want || s.Stopped() != change.stopped || s.Continued() == change.stopped {
				t.Errorf("after %v: %v, want %s", change.signal, s, change.want)
			}
			if state := stat(strconv.Itoa(p.Pid())).state; (state == "T") != change.stopped {
				t.Errorf("after %v the child's state is %s", change.signal, state)
			}
			if s, err := p.WaitFor(ended, change.wait); err != errEnough {
				t.Errorf("after %v twice: %v, %v", change.signal, s, err)
			}
		}
	}
}

// A child that has ended is a zombie until it is waited for, and then gone.
func TestZombie(t *testing.T) {
	p, err := start(t, exits(t, 0), &vspawn.Attr{})
	if err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(p.Pid())
	if err := unix.Waitid(unix.P_PID, p.Pid(), nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Error(err)
	}
	equal(t, "state before the wait", stat(pid).state, "Z")
	equal(t, "error of a signal to a zombie", p.Signal(unix.SIGTERM), nil)
	wait(t, p, "exit status 0")
	equal(t, "state after the wait", stat(pid).state, "")
	equal(t, "error of kill", unix.Kill(p.Pid(), 0), error(unix.ESRCH))
	if err := p.Signal(unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal after the wait: %v", err)
	}
}

// A start goes on waiting for its own child when another ends.
func TestOtherEnds(t *testing.T) {
	helper.SkipEmulated(t, "vfork that suspends the parent's thread")
	g := newGate(t, "")
	var open atomic.Bool
	held := make(chan error, 1)
	go func() {
		p, err := start(t, exits(t, 0), &vspawn.Attr{Syscalls: g.Calls})
		if err == nil && !open.Load() {
			err = errors.New("Start returned while its child was held up")
		}
		if p != nil {
			err = errors.Join(err, reap(p))
		}
		g.over()
		held <- err
	}()
	g.await(t)
	path := tiny.Exit(t, 0)
	for range 3 {
		p, err := vspawn.Start(t.Context(), path, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		wait(t, p, "exit status 0")
	}
	open.Store(true)
	g.letPass(t)
	if err := <-held; err != nil {
		t.Error(err)
	}
}

// How a child ended is told: its exit status, or the signal.
func TestEnds(t *testing.T) {
	noCore := []vspawn.Rlimit{{Resource: unix.RLIMIT_CORE}}
	for _, status := range []byte{0, 1, 42, 127, 255} {
		t.Run(fmt.Sprint("exit ", status), func(t *testing.T) {
			p, err := start(t, exits(t, status), &vspawn.Attr{})
			if err != nil {
				t.Fatal(err)
			}
			s := wait(t, p, fmt.Sprintf("exit status %d", status))
			if !s.Exited() || s.Signaled() || s.Stopped() || s.Continued() || s.ExitCode() != int(status) ||
				s.Success() != (status == 0) || s.Signal() != -1 || s.Pid() != p.Pid() {
				t.Errorf("its parts contradict %v", s)
			}
		})
	}
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGUSR1, unix.SIGSEGV, unix.SIGABRT} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			p := killed(t, sig, &vspawn.Attr{Rlimits: noCore})
			s := wait(t, p, "signal: "+sig.String())
			if s.Exited() || !s.Signaled() || s.CoreDump() || s.Signal() != sig || s.ExitCode() != -1 || s.Success() {
				t.Errorf("its parts contradict %v", s)
			}
		})
	}
	t.Run("core", func(t *testing.T) {
		helper.SkipEmulated(t, "core dumps by the kernel")
		if pattern := words("/proc/sys/kernel/core_pattern"); strings.ContainsAny(pattern, "|/") {
			t.Skipf("cores go elsewhere than to the working directory: core_pattern is %q", pattern)
		}
		var l unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_CORE, &l); err != nil || l.Max < 1<<20 {
			t.Skip("RLIMIT_CORE forbids cores: ", l, err)
		}
		attr := &vspawn.Attr{Dir: t.TempDir(),
			Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_CORE, Soft: 1 << 20, Hard: l.Max}}}
		p := killed(t, unix.SIGABRT, attr)
		if s := wait(t, p, "signal: aborted (core dumped)"); !s.CoreDump() {
			t.Error("CoreDump is false")
		}
	})
}
