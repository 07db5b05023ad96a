//go:build linux

package vspawn

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A signal goes to the group that a child leads, and to none where it leads
// none.
func TestSignalGroup(t *testing.T) {
	leader := startSleep(t, &Attr{Pgid: Ptr(0)})
	if err := leader.SignalGroup(unix.SIGKILL); err != nil {
		t.Error(err)
		leader.Kill()
	}
	if s, err := leader.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL {
		t.Error(s, err)
	}
	if err := leader.SignalGroup(unix.SIGKILL); err != os.ErrProcessDone {
		t.Errorf("got %v once it is reaped", err)
	}

	member := startSleep(t, nil)
	if err := member.SignalGroup(unix.SIGKILL); !errors.Is(err, unix.ESRCH) {
		t.Errorf("got %v for a child that leads no group", err)
	}
	member.Kill()
	if _, err := member.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// The pidfd that is handed on is the caller's: it outlives the Process's own.
func TestPidfd(t *testing.T) {
	f, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	if !f.Pidfd {
		t.Skip("there is no pidfd")
	}
	p := startSleep(t, nil)
	fd, err := p.Pidfd()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if s, err := p.Poll(); s != nil || err != nil {
		t.Errorf("a running child: %v, %v", s, err)
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		t.Error(err)
		p.Kill()
	}
	if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL {
		t.Error(s, err)
	}
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != unix.ESRCH {
		t.Errorf("the child is reaped, its pidfd gives %v", err)
	}
}
