//go:build linux

package vspawn

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A program that is a descriptor is found by name only where the name is sure to be
// the same file: not in a root, or with mounts, that may be other than ours.
func TestExecFDByName(t *testing.T) {
	fd := 0
	for _, x := range []struct {
		attr Attr
		want bool
	}{
		{Attr{}, true},
		{Attr{Cloneflags: unix.CLONE_NEWPID}, true},
		{Attr{Chroot: "/x"}, false},
		{Attr{Cloneflags: unix.CLONE_NEWNS}, false},
		{Attr{Cloneflags: unix.CLONE_NEWNS, PivotRoot: "/x"}, false},
		{Attr{Unshareflags: unix.CLONE_NEWNS}, false},
		{Attr{Setns: []Namespace{{FD: 0}}}, false},
		{Attr{Syscalls: []Syscall{{Name: "chroot", Nr: unix.SYS_CHROOT}}}, false},
	} {
		x.attr.ExecFD = &fd
		p, err := Compile("", nil, &x.attr)
		if err != nil {
			t.Errorf("%+v: %v", x.attr, err)
			continue
		}
		if p.execByName != x.want {
			t.Errorf("%+v: by name: %v", x.attr, p.execByName)
		}
	}
}
