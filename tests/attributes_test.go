//go:build linux

package tests

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// A spawnKind is a way to start a child: attributes, and what the child must
// then say of itself.
type spawnKind struct {
	name  string
	setUp func(t *testing.T) (*vspawn.Attr, func(t *testing.T, s *state))
}

// spawnKinds has an entry for each attribute.
var spawnKinds = slices.Concat(processKinds, schedulingKinds, privilegeKinds, namespaceKinds)

// kindsHere are those that may take another path where we are.
func kindsHere() []spawnKind {
	if os.Getenv(elsewhereEnv) != "" {
		return processKinds // on none of the others does it bear what clone and close_range can do
	}
	return spawnKinds
}

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
		return &vspawn.Attr{UID: vspawn.Ptr(os.Getuid()), GID: vspawn.Ptr(os.Getgid()), KeepGroups: true}, func(t *testing.T, s *state) {
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

// Each attribute is as asked for, as seen from inside the child, and what was
// not asked for is as it is in the parent.
func TestAttributes(t *testing.T) {
	for _, k := range kindsHere() {
		t.Run(k.name, func(t *testing.T) {
			attr, check := k.setUp(t)
			check(t, report(t, attr))
		})
	}
}

// Every field of Attr has a test by its name, or one that is named here.
func TestEveryAttributeHasATest(t *testing.T) {
	elsewhere := map[string]string{
		"Files":          "TestFiles",
		"TTY":            "ControllingTTY",
		"Foreground":     "ControllingTTY and Foreground",
		"GID":            "UID and GID",
		"DefaultSignals": "TestDispositions",
		"IgnoreSignals":  "TestDispositions",
		"UIDMap":         "TestUserNamespace",
		"GIDMap":         "TestUserNamespace",
		"AllowSetgroups": "TestUserNamespace",
		"Cloneflags":     "TestNamespaces",
		"ExecFD":         "TestExecFD",
		"InheritFiles":   "TestInheritFiles",
		"CloseRanges":    "TestInheritFiles",
		"Landlock":       "TestLandlock",
		"PrivateMounts":  "TestPrivateMounts",
		"Ptrace":         "TestPtrace",
		"StartStopped":   "TestStartStopped",
	}
	for i := range reflect.TypeFor[vspawn.Attr]().NumField() {
		field := reflect.TypeFor[vspawn.Attr]().Field(i).Name
		named := func(k spawnKind) bool { return k.name == field || strings.HasPrefix(k.name, field+" ") }
		if elsewhere[field] == "" && !slices.ContainsFunc(spawnKinds, named) {
			t.Errorf("no test of Attr.%s", field)
		}
	}
}

// argv is the caller's own, its first word too, and says nothing about the
// path.
func TestArgv(t *testing.T) {
	helper.SkipEmulated(t, "argv[0] other than its own")
	argv := reportHelper.Argv("", "two words", "ü")
	argv[0] = "another name"
	r, w := blockingPipe(t)
	p, err := vspawn.Start(t.Context(), "/proc/self/exe", argv, &vspawn.Attr{Files: []vspawn.File{{Child: 2, Parent: vspawn.FD(2)}, {Child: reportFD, Parent: w}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	s := readReport(t, p, r)
	equal(t, "argv[0]", s.Argv0, "another name")
	equal(t, "arguments", s.Args, []string{"", "two words", "ü"})
}

// A relative path of the program is relative to Dir.
func TestRelativePath(t *testing.T) {
	dir := realTemp(t)
	argv := reportHelper.Argv()
	if err := os.Symlink(argv[0], filepath.Join(dir, "program")); err != nil {
		t.Fatal(err)
	}
	r, w := blockingPipe(t)
	p, err := vspawn.Start(t.Context(), "./program", argv, &vspawn.Attr{Dir: dir, Files: []vspawn.File{{Child: 2, Parent: vspawn.FD(2)}, {Child: reportFD, Parent: w}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	equal(t, "directory", readReport(t, p, r).Dir, dir)
}

// The child has the limit of open descriptors that the parent was started
// with, not the one that the Go runtime has raised for itself.
func TestNofileRestored(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	const soft, hard = 100, 150
	r, w := blockingPipe(t)
	argv := nofileHelper.Argv()
	p, err := start(t, argv, &vspawn.Attr{
		Files:   []vspawn.File{{Child: 0, Parent: vspawn.FD(0)}, {Child: 1, Parent: w}, {Child: 2, Parent: vspawn.FD(2)}},
		Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: soft, Hard: hard}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	out, _ := io.ReadAll(r)
	wait(t, p, "exit status 0")
	equal(t, "limits of the parent and the child", string(out), fmt.Sprintf("raised: true, child: %d %d", soft, hard))
}

var nofileHelper = helper.New("nofile", func([]string) int {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		panic(err)
	}
	var l [2]uint64
	err := atExec(&vspawn.Attr{}, func(pid string) {
		for line := range strings.Lines(text("/proc/" + pid + "/limits")) {
			fmt.Sscanf(line, "Max open files %d %d", &l[0], &l[1])
		}
	})
	if err != nil {
		panic(err)
	}
	fmt.Printf("raised: %t, child: %d %d", own.Cur > 100, l[0], l[1])
	return 0
})

// nil in SignalMask passes on the mask of the thread that calls Start; an
// empty list blocks nothing.
func TestMaskInherited(t *testing.T) {
	helper.SkipEmulated(t, "signal masks of the program's own")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGUSR2 - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old); err != nil {
		t.Fatal(err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	equal(t, "mask passed on", report(t, &vspawn.Attr{}).Mask, setOf(unix.SIGUSR2))
	equal(t, "empty mask", report(t, &vspawn.Attr{SignalMask: []syscall.Signal{}}).Mask, 0)
	equal(t, "mask of the parent", signalMask(), setOf(unix.SIGUSR2))
}

// The program begins with the dispositions that were asked for. Others that
// were caught are default, and others that were ignored stay so.
func TestDispositions(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	p, err := start(t, dispositionsHelper.Argv(), &vspawn.Attr{IgnoreSignals: []syscall.Signal{unix.SIGHUP, unix.SIGINT}})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

// dispositionsHelper ignores SIGHUP and SIGINT, as the Go runtime leaves those
// two alone, and catches the rest.
var dispositionsHelper = helper.New("dispositions", func([]string) int {
	own := statusField("self", "SigIgn")
	attr := &vspawn.Attr{
		DefaultSignals: []syscall.Signal{unix.SIGINT, unix.SIGQUIT},
		IgnoreSignals:  []syscall.Signal{unix.SIGUSR1, unix.SIGALRM, 64},
		SignalMask:     []syscall.Signal{unix.SIGTERM, unix.SIGUSR2, 33},
	}
	// Whoever started the tests may have had others ignored: make 4.3 does.
	ignored, err := strconv.ParseUint(own, 16, 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ignored &^= setOf(unix.SIGINT, unix.SIGQUIT)
	want := [3]string{
		fmt.Sprintf("%016x", ignored|setOf(unix.SIGHUP, unix.SIGUSR1, unix.SIGALRM, 64)),
		fmt.Sprintf("%016x", 0),
		fmt.Sprintf("%016x", setOf(unix.SIGTERM, unix.SIGUSR2, 33)),
	}
	var got [3]string
	err = atExec(attr, func(pid string) {
		got = [3]string{statusField(pid, "SigIgn"), statusField(pid, "SigCgt"), statusField(pid, "SigBlk")}
	})
	if ignored&setOf(unix.SIGHUP) == 0 || got != want || err != nil {
		fmt.Fprintf(os.Stderr, "the parent ignores %s; the child ignores, catches and blocks %v, want %v; %v\n", own, got, want, err)
		return 1
	}
	return 0
})

// openTemp makes a directory and opens it.
func openTemp(t *testing.T) (path string, fd int) {
	t.Helper()
	path = realTemp(t)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(path, ": ", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return path, fd
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// setOf is a signal set as the kernel has it.
func setOf(signals ...syscall.Signal) (set uint64) {
	for _, s := range signals {
		set |= 1 << (s - 1)
	}
	return set
}

// realTemp is a temporary directory, by the name that getcwd gives it.
func realTemp(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
