//go:build linux

package tests

import (
	"errors"
	"os"
	osexec "os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
	"github.com/vspawn/vspawn/vspawn/exec"
)

// beginDying starts a child that the kernel reaps, if it can.
func beginDying(t *testing.T, path string) *vspawn.Process {
	t.Helper()
	return startDying(t, path, &vspawn.Attr{DieWithParent: true, NoNewPrivs: true})
}

func startDying(t *testing.T, path string, attr *vspawn.Attr) *vspawn.Process {
	t.Helper()
	argv := helper.Emulate(path)
	p, err := vspawn.Start(t.Context(), argv[0], argv, attr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// How a child has ended is told as of any other, though no one can wait for it by number
// where the kernel reaps it; and nothing of it is left.
func TestDieWithParentEnds(t *testing.T) {
	bound := autokill(t)
	leavesNothing(t, "status", func(t *testing.T) {
		p := beginDying(t, tiny.Exit(t, 3))
		s := wait(t, p, "exit status 3")
		if used := s.Rusage().Maxrss != 0; used == bound && helper.MMU() { // without one there is no such figure
			t.Errorf("it tells what the child has used: %t", used)
		}
		equal(t, "signal to it", p.Signal(unix.SIGTERM), os.ErrProcessDone)
	})
	leavesNothing(t, "poll", func(t *testing.T) {
		p := beginDying(t, tiny.Sleep(t))
		if s, err := p.Poll(); s != nil || err != nil {
			t.Errorf("it has ended: %v, %v", s, err)
		}
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		var s *vspawn.State
		var err error
		for s == nil && err == nil {
			s, err = p.Poll()
		}
		if err != nil || s.Signal() != unix.SIGKILL || s.CoreDump() {
			t.Errorf("%v, %v", s, err)
		}
	})
	leavesNothing(t, "changes", func(t *testing.T) {
		helper.SkipEmulated(t, "WCONTINUED")
		p := beginDying(t, tiny.Sleep(t))
		for _, c := range []struct {
			signal unix.Signal
			want   string
		}{{unix.SIGSTOP, "stopped: stopped (signal)"}, {unix.SIGCONT, "continued"}, {unix.SIGTERM, "signal: terminated"}} {
			if err := p.Signal(c.signal); err != nil {
				t.Error(err)
			}
			s, err := p.WaitFor(t.Context(), vspawn.Stopped|vspawn.Continued|vspawn.Exited)
			if err != nil || s.String() != c.want {
				t.Errorf("%v, %v, want %s", s, err, c.want)
			}
		}
	})
}

// Others that are given a pidfd don't keep it alive, and its process group is its own.
func TestDieWithParentReached(t *testing.T) {
	leavesNothing(t, "by a pidfd", func(t *testing.T) {
		p := beginDying(t, tiny.Sleep(t))
		fd, err := p.Pidfd()
		if err != nil {
			p.Kill()
			reap(p)
			t.Skip("no pidfd: ", err)
		}
		defer unix.Close(fd)
		if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil {
			t.Error(err)
		}
		wait(t, p, "signal: terminated")
		if _, err := p.Pidfd(); err != os.ErrProcessDone {
			t.Errorf("then: %v", err)
		}
	})
	leavesNothing(t, "by its group", func(t *testing.T) {
		p := startDying(t, tiny.Sleep(t), &vspawn.Attr{DieWithParent: true, NoNewPrivs: true, Pgid: vspawn.Ptr(0)})
		if err := p.SignalGroup(unix.SIGUSR1); err != nil {
			t.Error(err)
		}
		wait(t, p, "signal: user defined signal 1")
	})
}

// Close lets it live, and when it has ended nothing of it is left.
func TestDieWithParentClosed(t *testing.T) {
	bound := autokill(t)
	leavesNothing(t, "let go of", func(t *testing.T) {
		puppet := tiny.New(t)
		argv := tiny.Argv(t)
		attr := &vspawn.Attr{DieWithParent: true, NoNewPrivs: true}
		p, err := vspawn.Start(t.Context(), argv[0], argv, withFile(attr, tiny.FD, puppet.Child))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := puppet.Do(&tiny.Call{Nr: unix.SYS_GETPID}); err != nil {
			t.Error("the child has ended with Close: ", err)
		}
		puppet.Child.Close()
		puppet.Close()
		if !bound {
			unix.Wait4(p.Pid(), nil, 0, nil)
		}
	})
}

// A failed start of one that the kernel reaps is told like any other.
func TestDieWithParentFails(t *testing.T) {
	leavesNothing(t, "no program", func(t *testing.T) {
		_, err := vspawn.Start(t.Context(), "/no/such/program", nil, &vspawn.Attr{DieWithParent: true, NoNewPrivs: true})
		checkError(t, err, vspawn.Error{Step: "execve", Object: "/no/such/program", Err: unix.ENOENT})
	})
}

// A command of vspawn/exec can't have it, since os.Process could not wait for it.
func TestDieWithParentOfExec(t *testing.T) {
	cmd := exec.Command(tiny.Exit(t, 0))
	cmd.Attr = &vspawn.Attr{DieWithParent: true}
	err := cmd.Run()
	var refused *vspawn.AttrError
	if !errors.As(err, &refused) || refused.Field != "DieWithParent" {
		t.Errorf("got %v", err)
	}
	if _, ok := err.(*osexec.ExitError); ok {
		t.Error("it was started")
	}
}
