//go:build linux

package exec

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// openTerminal makes a terminal.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	tty, err := newTerminal()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.master.Close(); tty.slave.Close() })
	return tty.slave
}

// Setctty is about the child's descriptor Ctty, whatever the parent has there.
func TestSetctty(t *testing.T) {
	tty := openTerminal(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	const ctty = 60
	if err := unix.Dup3(int(null.Fd()), ctty, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ctty)
	start := func(file *os.File) (*Cmd, *tiny.Puppet, error) {
		argv, puppet := tiny.Argv(t), tiny.New(t)
		cmd := Command(argv[0], argv[1:]...)
		cmd.ExtraFiles = extra(puppet)
		cmd.ExtraFiles[ctty-3] = file
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: ctty}
		return cmd, puppet, cmd.Start()
	}
	cmd, puppet, err := start(tty)
	if err != nil {
		t.Fatal(err)
	}
	group := make([]byte, 4)
	c := &tiny.Call{Nr: unix.SYS_IOCTL, Args: []any{ctty, unix.TIOCGPGRP, group}}
	if err := puppet.Do(c); err != nil || c.Err() != nil {
		t.Error("TIOCGPGRP: ", err, c.Err())
	}
	if got := int(le32(group)); got != cmd.Process.Pid {
		t.Errorf("the foreground group of the terminal is %d, want %d", got, cmd.Process.Pid)
	}
	puppet.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}

	// A descriptor that the child does not get is none, though the parent's is a terminal.
	if err := unix.Dup3(int(openTerminal(t).Fd()), ctty, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if cmd, puppet, err = start(nil); !errors.Is(err, unix.EBADF) {
		t.Errorf("got %v, want EBADF", err)
	}
	if err == nil {
		puppet.Close()
		cmd.Wait()
	}
}

func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// Foreground is about the parent's descriptor Ctty, whatever the child has there.
func TestForeground(t *testing.T) {
	argv := foreground.Argv(helper.Emulate(tiny.Exit(t, 0))...)
	cmd := Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stderr = openTerminal(t), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}

// foreground gives its terminal, standard input, to a child whose own descriptor of
// that number is another.
var foreground = helper.New("foreground", func(args []string) int {
	fail := func(args ...any) int {
		fmt.Fprintln(os.Stderr, args...)
		return 1
	}
	for _, attr := range []*vspawn.Attr{nil, {}, {Files: []vspawn.File{{Child: 20, Parent: vspawn.FD(1)}}}} {
		cmd := Command(args[0], args[1:]...)
		cmd.Attr = attr
		cmd.SysProcAttr = &syscall.SysProcAttr{Foreground: true, Ctty: 20}
		if err := unix.Dup3(0, 20, unix.O_CLOEXEC); err != nil {
			return fail(err)
		}
		if err := cmd.Start(); err != nil {
			return fail(err)
		}
		if group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err != nil || group != cmd.Process.Pid {
			return fail("the foreground group is", group, err, "want", cmd.Process.Pid)
		}
		if err := cmd.Wait(); err != nil {
			return fail(err)
		}
	}
	return 0
})
