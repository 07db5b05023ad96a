//go:build linux

package exec

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// What SysProcAttr says becomes these system calls.
func TestPlan(t *testing.T) {
	type attr = syscall.SysProcAttr
	for _, c := range []struct {
		attr attr
		want string
	}{
		{attr{Setctty: true, Setsid: true, Ctty: 1}, "setsid()\n…ioctl(0x1, 0x540e, 0x1,"},
		{attr{Noctty: true, Setctty: true}, "ioctl(0x0, 0x5422, …ioctl(0x0, 0x540e, 0x1,"},
		{attr{Foreground: true, Ctty: 0}, "setpgid(0, 0)…ioctl(0, TIOCSPGRP"},
		{attr{Foreground: true, Setpgid: true, Pgid: 7}, "setpgid(0, 7)…ioctl(0, TIOCSPGRP"},
		{attr{Ptrace: true}, "ptrace(PTRACE_TRACEME"},
		{attr{Chroot: "/x"}, "chroot(\"/x\")…chdir(\"/\")"},
		{attr{Unshareflags: syscall.CLONE_NEWNS}, "unshare(CLONE_NEWNS)…mount(NULL, \"/\", NULL, 0x44000,"},
		{attr{UseCgroupFD: true, CgroupFD: 0}, "CLONE_INTO_CGROUP"},
		{attr{AmbientCaps: []uintptr{10}}, "PR_CAP_AMBIENT"},
		{attr{GidMappings: []syscall.SysProcIDMap{{Size: 1}}, Cloneflags: syscall.CLONE_NEWUSER, GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{}}, "setgroups(0"},
	} {
		plan, err := (&Cmd{Path: "/x", SysProcAttr: &c.attr}).plan([]int{0, 1, 2}, nil)
		if err != nil {
			t.Errorf("%+v: %v", c.attr, err)
			continue
		}
		rest := plan.String()
		for _, part := range strings.Split(c.want, "…") {
			var ok bool
			if _, rest, ok = strings.Cut(rest, part); !ok {
				t.Errorf("%+v: want %s in\n%s", c.attr, c.want, plan)
				break
			}
		}
	}
	for _, c := range []struct {
		attr attr
		own  *vspawn.Attr
		want string
	}{
		{attr: attr{Setctty: true, Ctty: 3}, want: "Setctty set but Ctty not valid in child"},
		{attr: attr{Setctty: true, Foreground: true}, want: "both Setctty and Foreground set in SysProcAttr"},
		{attr: attr{AmbientCaps: []uintptr{64}}, want: "AmbientCaps: there is no"},
		{attr: attr{Cloneflags: syscall.CLONE_FILES}, want: "Cloneflags: what the child does to itself"},
		{attr: attr{Cloneflags: syscall.CLONE_PARENT}, want: "Cloneflags: no one here could wait"},
		{attr: attr{UidMappings: []syscall.SysProcIDMap{{Size: 1}}}, want: "UidMappings: needs CLONE_NEWUSER"},
		{attr: attr{Chroot: "/a"}, own: &vspawn.Attr{Chroot: "/b"}, want: "SysProcAttr.Chroot: contradicts"},
		{attr: attr{Credential: &syscall.Credential{}}, own: &vspawn.Attr{UID: vspawn.Ptr(1)}, want: "SysProcAttr.Credential: contradicts"},
		{own: &vspawn.Attr{Env: []string{}}, want: "Env: set in Attr"},
		{own: &vspawn.Attr{Dir: "/"}, want: "Dir: set in Attr"},
		{own: &vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: vspawn.FD(1)}}}, want: "descriptor 1 is named twice"},
		{own: &vspawn.Attr{Nice: vspawn.Ptr(99)}, want: "Nice"},
	} {
		err := (&Cmd{Path: "/x", SysProcAttr: &c.attr, Attr: c.own}).Start()
		var path *fs.PathError
		if !errors.As(err, &path) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v, %+v: got %v, want %s", c.attr, c.own, err, c.want)
		}
	}
}

// Attr gives what os/exec has not, and a child without leaked descriptors.
func TestAttr(t *testing.T) {
	high, err := unix.FcntlInt(0, unix.F_DUPFD, 177)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)
	for _, c := range []struct {
		attr *vspawn.Attr
		want string
	}{
		{nil, "177 true"},
		{&vspawn.Attr{Umask: vspawn.Ptr(0o27)}, "177 false umask 23"},
		{&vspawn.Attr{InheritFiles: true}, "177 true"},
		// What ExtraFiles gives, the puppet's among it, is not in the ranges.
		{&vspawn.Attr{InheritFiles: true, CloseRanges: []vspawn.Range{{First: 3, NoEnd: true}}}, "177 false"},
		{&vspawn.Attr{InheritFiles: true, CloseRanges: []vspawn.Range{{First: 1, Last: 150}}}, "177 true"},
	} {
		argv, puppet := tiny.Argv(t), tiny.New(t)
		cmd := Command(argv[0], argv[1:]...)
		cmd.Attr, cmd.ExtraFiles = c.attr, extra(puppet)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if got := facts(t, puppet); !strings.Contains(got, c.want) {
			t.Errorf("got %s, want %s", got, c.want)
		}
		puppet.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	cmd := zero(t)
	cmd.Attr = &vspawn.Attr{Chroot: "/not/here"}
	var e *vspawn.Error
	if err := cmd.Run(); !errors.As(err, &e) || e.Step != "chroot" {
		t.Errorf("got %v", err)
	}
}

// A nil among ExtraFiles, and a closed file in the standard's places, is a
// closed descriptor, whatever the parent has open there.
func TestClosed(t *testing.T) {
	gone, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	high, err := unix.FcntlInt(0, unix.F_DUPFD, 77)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)
	for _, attr := range []*vspawn.Attr{nil, {Umask: vspawn.Ptr(0)},
		{InheritFiles: true, Files: []vspawn.File{{Child: 78, Parent: vspawn.FD(2)}}}} {
		argv, puppet := tiny.Argv(t), tiny.New(t)
		cmd := Command(argv[0], argv[1:]...)
		cmd.Stdin, cmd.ExtraFiles, cmd.Attr = gone, extra(puppet), attr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for fd, open := range map[int]bool{0: false, 1: true, 2: true, 77: false, 78: attr != nil && attr.Files != nil} {
			c := &tiny.Call{Nr: unix.SYS_FCNTL, Args: []any{fd, unix.F_GETFD}}
			if err := puppet.Do(c); err != nil || (c.Err() == nil) != open {
				t.Errorf("with Attr %t: descriptor %d: %v, %v, want it open: %t", attr != nil, fd, c.Err(), err, open)
			}
		}
		puppet.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}
