//go:build linux

package vspawn

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A program that is a descriptor is found by name only where the name is sure to be
// the same file: not in a root, or with mounts, that may be other than ours.
func TestExecFDByName(t *testing.T) {
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
		{Attr{Setns: []Namespace{{FD: FD(0)}}}, false},
		{Attr{Syscalls: []Syscall{{Name: "chroot", Nr: unix.SYS_CHROOT}}}, false},
	} {
		x.attr.ExecFD = FD(0)
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

// A thread with a table of its own is one of the runtime's still, which may collect
// garbage there and then asks its poller.
func TestOwnTableHasPoller(t *testing.T) {
	r, w, err := os.Pipe() // from here on there is a poller
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var own bool
	withOwnTable(func() {
		runtime.GC()
		fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err == nil {
			fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 500)
		}
		if err != nil {
			t.Error(err)
			return
		}
		_, err = os.Stat("/proc/self/fd/" + itoa(fd)) // of the process
		own = os.IsNotExist(err)
	})
	if !own {
		t.Error("the thread had no table of its own")
	}
}
