//go:build linux

package tests

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

var processKinds = []spawnKind{
	{"nothing", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		t.Setenv("VSPAWN_TEST", "inherited")
		return &vspawn.Attr{}, func(t *testing.T, s *state) {
			self := ownState()
			s.Limits[unix.RLIMIT_NOFILE] = self.Limits[unix.RLIMIT_NOFILE] // see TestNofileRestored
			equal(t, "environment", s.Env, os.Environ())
			equal(t, "directory", s.Dir, self.Dir)
			equal(t, "root", s.Root, self.Root)
			equal(t, "parent", s.Ppid, self.Pid)
			equal(t, "process group", s.Pgid, self.Pgid)
			equal(t, "session", s.Sid, self.Sid)
			equal(t, "users", s.UID, self.UID)
			equal(t, "groups", s.GID, self.GID)
			equal(t, "supplementary groups", s.Groups, self.Groups)
			equal(t, "umask", s.Umask, self.Umask)
			equal(t, "limits", s.Limits, self.Limits)
			equal(t, "signal mask", s.Mask, self.Mask)
			equal(t, "parent-death signal", s.Pdeathsig, 0)
			equal(t, "namespaces", s.Namespaces, self.Namespaces)
			equal(t, "cgroup", s.Cgroup, self.Cgroup)
			equal(t, "directories are read", s.Lists, true)
		}
	}},
	{"Env", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		env := []string{"B=2", "A=1", "A=one", "EMPTY=", "odd", "spaced=a b"}
		return &vspawn.Attr{Env: env}, func(t *testing.T, s *state) { equal(t, "environment", s.Env, env) }
	}},
	{"Env empty", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		return &vspawn.Attr{Env: []string{}}, func(t *testing.T, s *state) { equal(t, "size of environment", len(s.Env), 0) }
	}},
	{"Dir", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		dir := realTemp(t)
		return &vspawn.Attr{Dir: dir}, func(t *testing.T, s *state) { equal(t, "directory", s.Dir, dir) }
	}},
	{"DirFD", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		dir, fd := openTemp(t)
		return &vspawn.Attr{DirFD: vspawn.FD(fd)}, func(t *testing.T, s *state) {
			equal(t, "directory", s.Dir, dir)
			equal(t, "what the child has as the directory's number", s.Files[fd], inode{})
		}
	}},
	{"DirFD whose number another file gets", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		dir, fd := openTemp(t)
		attr := &vspawn.Attr{DirFD: vspawn.FD(fd), Files: append(inherited(), vspawn.File{Child: fd, Parent: vspawn.FD(2)})}
		return attr, func(t *testing.T, s *state) {
			equal(t, "directory", s.Dir, dir)
			equal(t, "the other file", s.Files[fd], inodeOf(2))
		}
	}},
	{"Setsid", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		return &vspawn.Attr{Setsid: true}, func(t *testing.T, s *state) {
			equal(t, "session", s.Sid, s.Pid)
			equal(t, "process group", s.Pgid, s.Pid)
			equal(t, "foreground group of a terminal", s.Foreground, 0)
		}
	}},
	{"Setsid and a Pgid of its own", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		return &vspawn.Attr{Setsid: true, Pgid: vspawn.Ptr(0)}, func(t *testing.T, s *state) { equal(t, "session", s.Sid, s.Pid) }
	}},
	{"Pgid of its own", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		sid, _ := unix.Getsid(0)
		return &vspawn.Attr{Pgid: vspawn.Ptr(0)}, func(t *testing.T, s *state) {
			equal(t, "process group", s.Pgid, s.Pid)
			equal(t, "session", s.Sid, sid)
		}
	}},
	{"Pgid of another child", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		leader := waiting(t, &vspawn.Attr{Pgid: vspawn.Ptr(0)})
		return &vspawn.Attr{Pgid: vspawn.Ptr(leader.Pid())}, func(t *testing.T, s *state) {
			equal(t, "process group", s.Pgid, leader.Pid())
		}
	}},
	{"ControllingTTY", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		tty := terminal(t)
		return &vspawn.Attr{Setsid: true, TTY: vspawn.FD(tty), ControllingTTY: true}, func(t *testing.T, s *state) {
			equal(t, "session", s.Sid, s.Pid)
			equal(t, "foreground group", s.Foreground, s.Pid) // the kernel makes it so for a session leader
		}
	}},
	{"ControllingTTY and Foreground", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		tty := terminal(t)
		attr := &vspawn.Attr{Setsid: true, TTY: vspawn.FD(tty), ControllingTTY: true, Foreground: true,
			Files: []vspawn.File{{Child: 0, Parent: vspawn.FD(tty)}, {Child: 1, Parent: vspawn.FD(tty)}, {Child: 2, Parent: vspawn.FD(2)}}}
		return attr, func(t *testing.T, s *state) {
			equal(t, "foreground group", s.Foreground, s.Pid)
			equal(t, "standard input", s.Files[0], inodeOf(tty))
		}
	}},
	{"Umask", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		return &vspawn.Attr{Umask: vspawn.Ptr(0o137)}, func(t *testing.T, s *state) { equal(t, "umask", s.Umask, 0o137) }
	}},
	{"Umask of 0", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		return &vspawn.Attr{Umask: vspawn.Ptr(0)}, func(t *testing.T, s *state) { equal(t, "umask", s.Umask, 0) }
	}},
	{"Rlimits", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		helper.SkipEmulated(t, "limits of the program's own") // it keeps some to itself
		attr := &vspawn.Attr{}
		var want []unix.Rlimit
		for r := range unix.RLIMIT_RTTIME + 1 {
			var now unix.Rlimit
			if err := unix.Getrlimit(r, &now); err != nil {
				t.Fatal(err)
			}
			l := unix.Rlimit{Cur: min(1<<30, now.Cur), Max: now.Max} // lower, so that anyone may
			switch r {
			case unix.RLIMIT_NOFILE:
				l = unix.Rlimit{Cur: 200, Max: 200} // equal: the Go runtime raises the soft one
			case unix.RLIMIT_AS, unix.RLIMIT_DATA, unix.RLIMIT_NPROC:
				l.Cur = min(1<<46, now.Cur) // as much as the race detector needs
			case unix.RLIMIT_NICE, unix.RLIMIT_RTPRIO:
				l.Cur = min(10, now.Cur)
			}
			attr.Rlimits = append(attr.Rlimits, vspawn.Rlimit{Resource: r, Soft: l.Cur, Hard: l.Max})
			want = append(want, l)
		}
		return attr, func(t *testing.T, s *state) { equal(t, "limits", s.Limits, want) }
	}},
	{"Rlimits raised", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SYS_RESOURCE, "raise a hard limit")
		helper.SkipEmulated(t, "limits of the program's own")
		attr := &vspawn.Attr{
			Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_MEMLOCK, Soft: 1 << 40, Hard: math.MaxUint64}},
			UID:     vspawn.Ptr(1000), // who may not: limits come first
		}
		return attr, func(t *testing.T, s *state) {
			equal(t, "limit", s.Limits[unix.RLIMIT_MEMLOCK], unix.Rlimit{Cur: 1 << 40, Max: math.MaxUint64})
		}
	}},
	{"Chroot", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		root := newRoot(t)
		return &vspawn.Attr{Chroot: root}, func(t *testing.T, s *state) {
			equal(t, "root", s.Root, statInode(t, root))
			equal(t, "directory", s.Dir, "/")
		}
	}},
	{"Chroot and Dir", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		return &vspawn.Attr{Chroot: newRoot(t), Dir: "/sub"}, func(t *testing.T, s *state) {
			equal(t, "directory", s.Dir, "/sub")
		}
	}},
	{"Chroot and a relative Dir", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		root, outside := newRoot(t), realTemp(t)
		if err := os.Mkdir(filepath.Join(outside, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Chdir(outside) // where there is one of that name too
		return &vspawn.Attr{Chroot: root, Dir: "sub"}, func(t *testing.T, s *state) {
			equal(t, "root", s.Root, statInode(t, root))
			equal(t, "directory", s.Dir, "/sub")
		}
	}},
	{"UID and GID", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SETUID, "become another")
		return &vspawn.Attr{UID: vspawn.Ptr(1000), GID: vspawn.Ptr(1001)}, func(t *testing.T, s *state) {
			equal(t, "users", s.UID, [3]int{1000, 1000, 1000})
			equal(t, "groups", s.GID, [3]int{1001, 1001, 1001})
			equal(t, "number of supplementary groups", len(s.Groups), 0)
		}
	}},
	{"Groups", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SETGID, "choose groups")
		return &vspawn.Attr{Groups: []int{5, 70000, 7}, UID: vspawn.Ptr(1000)}, func(t *testing.T, s *state) {
			slices.Sort(s.Groups)
			equal(t, "supplementary groups", s.Groups, []int{5, 7, 70000})
			equal(t, "groups", s.GID, [3]int{os.Getgid(), os.Getgid(), os.Getgid()})
		}
	}},
	{"KeepGroups", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		own, err := unix.Getgroups()
		if err != nil {
			t.Fatal(err)
		}
		// One's own ids are for anyone to take.
		return &vspawn.Attr{UID: vspawn.Ptr(os.Getuid()), GID: vspawn.Ptr(os.Getgid()), KeepGroups: true},
			func(t *testing.T, s *state) {
				equal(t, "supplementary groups", s.Groups, own)
			}
	}},
	{"SignalMask", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		helper.SkipEmulated(t, "signal masks of the program's own")
		const last = 64
		mask := []syscall.Signal{unix.SIGUSR1, unix.SIGUSR2, last} // the Go runtime unblocks others
		return &vspawn.Attr{SignalMask: mask}, func(t *testing.T, s *state) { equal(t, "signal mask", s.Mask, setOf(mask...)) }
	}},
	{"Pdeathsig", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		attr := &vspawn.Attr{Pdeathsig: unix.SIGTERM}
		if os.Getuid() == 0 {
			attr.UID, attr.GID = vspawn.Ptr(1000), vspawn.Ptr(1000) // which clears it
		}
		return attr, func(t *testing.T, s *state) { equal(t, "parent-death signal", s.Pdeathsig, int(unix.SIGTERM)) }
	}},
	{"DieWithParent", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		f, err := vspawn.Features()
		if err != nil {
			t.Fatal(err)
		}
		want := int(unix.SIGKILL)
		if f.Autokill { // NoNewPrivs is all that it takes then
			want = 0
		}
		return &vspawn.Attr{DieWithParent: true, NoNewPrivs: true}, func(t *testing.T, s *state) {
			equal(t, "parent-death signal", s.Pdeathsig, want)
		}
	}},
	{"Cgroup", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		dir, path := cgroup(t)
		return &vspawn.Attr{Cgroup: dir}, func(t *testing.T, s *state) {
			if !strings.Contains(" "+s.Cgroup+" ", " 0::"+path+" ") {
				t.Errorf("the child's cgroups are %q, want %q among them", s.Cgroup, path)
			}
		}
	}},
	{"Syscalls", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		attr := &vspawn.Attr{Umask: vspawn.Ptr(0o77), Syscalls: []vspawn.Syscall{
			{Name: "setpgid", Nr: unix.SYS_SETPGID},
			{Before: "Umask", Name: "umask", Nr: unix.SYS_UMASK, Args: [6]uintptr{0o22}},
			{Before: "Dir", Nr: unix.SYS_CLOSE, Args: [6]uintptr{^uintptr(0)}, Tolerate: true},
		}}
		return attr, func(t *testing.T, s *state) {
			equal(t, "process group", s.Pgid, s.Pid)
			equal(t, "umask", s.Umask, 0o77)
		}
	}},
}
