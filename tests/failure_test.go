//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vspawn/vspawn/tests/helper"
	"github.com/vspawn/vspawn/vspawn"
	"golang.org/x/sys/unix"
)

// checkError checks that err is a *vspawn.Error with the given step, field,
// object (an end of it will do) and cause.
func checkError(t *testing.T, err error, want vspawn.Error) {
	t.Helper()
	var e *vspawn.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *vspawn.Error", err)
	}
	if e.Step != want.Step || e.Field != want.Field || !strings.HasSuffix(e.Object, want.Object) || !errors.Is(err, want.Err) {
		t.Errorf("got step %q, field %q, object %q, cause %q; want %q, %q, %q, %q",
			e.Step, e.Field, e.Object, e.Err, want.Step, want.Field, want.Object, want.Err)
	}
	for _, part := range []string{e.Step, e.Field, e.Object, e.Err.Error()} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error's text %q lacks %q", err, part)
		}
	}
}

// failingStarts are starts that the kernel refuses for a reason of its own.
var failingStarts = []struct {
	name  string
	setUp func(t *testing.T) (path string, argv []string, attr *vspawn.Attr, want vspawn.Error)
}{
	{"no such program", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		const path = "/no/such/program"
		return path, nil, nil, vspawn.Error{Step: "execve", Object: path, Err: unix.ENOENT}
	}},
	{"not executable", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		path := programFile(t, "#!/bin/sh\n", 0o600)
		return path, nil, nil, vspawn.Error{Step: "execve", Object: path, Err: unix.EACCES}
	}},
	{"a directory", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		return "/", nil, nil, vspawn.Error{Step: "execve", Object: "/", Err: unix.EACCES}
	}},
	{"a script without #!", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		path := programFile(t, "exit 0\n", 0o700)
		return path, nil, nil, vspawn.Error{Step: "execve", Object: path, Err: unix.ENOEXEC}
	}},
	{"an empty file", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		path := programFile(t, "", 0o700)
		return path, nil, nil, vspawn.Error{Step: "execve", Object: path, Err: unix.ENOEXEC}
	}},
	{"a script whose interpreter is missing", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		path := programFile(t, "#!/no/such/interpreter\n", 0o700)
		return path, nil, nil, vspawn.Error{Step: "execve", Object: path, Err: unix.ENOENT}
	}},
	{"below a file", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		const path = "/proc/self/exe/program"
		return path, nil, nil, vspawn.Error{Step: "execve", Object: path, Err: unix.ENOTDIR}
	}},
	{"a link to itself", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		path := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink("link", path); err != nil {
			t.Fatal(err)
		}
		return path, nil, nil, vspawn.Error{Step: "execve", Object: path, Err: unix.ELOOP}
	}},
	{"a name too long", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		path := "/" + strings.Repeat("x", unix.NAME_MAX+1)
		return path, nil, nil, vspawn.Error{Step: "execve", Object: path, Err: unix.ENAMETOOLONG}
	}},
	{"an argument too long", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		helper.SkipEmulated(t, "pages of the kernel's size")
		argv := exitHelper.Argv(strings.Repeat("x", 32*os.Getpagesize())) // MAX_ARG_STRLEN, with its NUL
		return program(argv), argv, nil, vspawn.Error{Step: "execve", Object: program(argv), Err: unix.E2BIG}
	}},
	{"Dir", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		return "/x", nil, &vspawn.Attr{Dir: "/no/such/dir"}, vspawn.Error{Step: "chdir", Field: "Dir", Object: "/no/such/dir", Err: unix.ENOENT}
	}},
	{"Dir of another", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		needCapability(t, unix.CAP_SETUID, "become another")
		dir := filepath.Join(t.TempDir(), "dir")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return "/x", nil, &vspawn.Attr{Dir: dir, UID: vspawn.Ptr(1000)}, vspawn.Error{Step: "chdir", Field: "Dir", Object: dir, Err: unix.EACCES}
	}},
	{"Chroot", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		return "/x", nil, &vspawn.Attr{Chroot: "/no/such/root"}, vspawn.Error{Step: "chroot", Field: "Chroot", Object: "/no/such/root", Err: unix.ENOENT}
	}},
	{"Pgid", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		const none = 1<<22 + 1 // above the highest pid
		return "/x", nil, &vspawn.Attr{Pgid: vspawn.Ptr(none)}, vspawn.Error{Step: "setpgid", Field: "Pgid", Object: fmt.Sprintf("(0, %d)", none), Err: unix.EPERM}
	}},
	{"ControllingTTY", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		r, _ := blockingPipe(t)
		fd := int(r.Fd())
		return "/x", nil, &vspawn.Attr{Setsid: true, TTY: &fd, ControllingTTY: true},
			vspawn.Error{Step: "ioctl", Field: "ControllingTTY", Object: fmt.Sprintf("(%d, TIOCSCTTY, 0)", fd), Err: unix.ENOTTY}
	}},
	{"Foreground of a terminal that is not ours", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		tty := terminal(t)
		return "/x", nil, &vspawn.Attr{Pgid: vspawn.Ptr(0), TTY: &tty, Foreground: true},
			vspawn.Error{Step: "ioctl", Field: "Foreground", Err: unix.ENOTTY}
	}},
	{"Rlimits", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		helper.SkipEmulated(t, "limits of the program's own")
		const more = 1 << 40 // than fs.nr_open can be
		return "/x", nil, &vspawn.Attr{Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_CORE}, {Resource: unix.RLIMIT_NOFILE, Soft: more, Hard: more}}},
			vspawn.Error{Step: "prlimit64", Field: "Rlimits[1]", Object: "RLIMIT_NOFILE", Err: unix.EPERM}
	}},
	{"UIDMap", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		needUserNamespaces(t)
		m := vspawn.IDMap{Inside: 0, Outside: os.Getuid(), Size: 1}
		return "/x", nil, &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []vspawn.IDMap{m, m}},
			vspawn.Error{Step: "write", Field: "UIDMap", Object: "/uid_map", Err: unix.EINVAL}
	}},
	{"Cgroup that is none", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		r, _ := blockingPipe(t)
		fd := int(r.Fd())
		want := vspawn.Error{Step: "clone3", Field: "Cgroup", Object: fmt.Sprint(fd), Err: unix.EBADF}
		if f, err := vspawn.Features(); err != nil || !f.Clone3 {
			want = vspawn.Error{Step: "clone", Field: "Cgroup", Err: unix.ENOSYS}
		}
		return "/x", nil, &vspawn.Attr{Cgroup: &fd}, want
	}},
}

// A start that the kernel refuses gives an error with the step, its object and
// the cause, and leaves nothing.
func TestFailingStart(t *testing.T) {
	for _, f := range failingStarts {
		leavesNothing(t, f.name, func(t *testing.T) {
			path, argv, attr, want := f.setUp(t)
			_, err := vspawn.Start(t.Context(), path, argv, attr)
			checkError(t, err, want)
		})
	}
}

// A source that is closed between Compile and Start.
func TestFailingSource(t *testing.T) {
	leavesNothing(t, "closed", func(t *testing.T) {
		r, _ := blockingPipe(t)
		const fd = 80 // which nothing will take meanwhile
		if err := unix.Dup3(int(r.Fd()), fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		plan, err := vspawn.Compile("/x", nil, &vspawn.Attr{Files: []vspawn.File{{Child: 70, Parent: fd}}})
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		_, err = plan.Start(t.Context())
		checkError(t, err, vspawn.Error{Step: "dup3", Field: "Files", Object: fmt.Sprintf("(%d, 70, 0)", fd), Err: unix.EBADF})
	})
}

// programFile is a file with a program's text.
func programFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// What needs a privilege says so for who has none.
func TestFailingPrivilege(t *testing.T) {
	argv := unprivilegedHelper.Argv()
	attr := &vspawn.Attr{}
	if os.Getuid() == 0 {
		needCapability(t, unix.CAP_SETUID, "become another")
		attr.UID, attr.GID = vspawn.Ptr(1000), vspawn.Ptr(1000)
	}
	p, err := start(t, argv, attr)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

var unprivilegedHelper = helper.New("unprivileged", func([]string) int {
	f, err := vspawn.Features()
	if err != nil {
		panic(err)
	}
	clone := vspawn.Error{Step: "clone3", Field: "Cloneflags", Object: "CLONE_NEWUTS", Err: unix.EPERM}
	if !f.Clone3 {
		clone.Step = "clone"
	}
	if !f.SharedMemory {
		clone.Err = unix.EINVAL // qemu-user has no namespaces
	}
	for _, c := range []struct {
		attr vspawn.Attr
		want vspawn.Error
	}{
		{vspawn.Attr{UID: vspawn.Ptr(0), KeepGroups: true}, vspawn.Error{Step: "setresuid", Field: "UID", Object: "0", Err: unix.EPERM}},
		{vspawn.Attr{GID: vspawn.Ptr(0), KeepGroups: true}, vspawn.Error{Step: "setresgid", Field: "GID", Object: "0", Err: unix.EPERM}},
		{vspawn.Attr{Groups: []int{0, 5}}, vspawn.Error{Step: "setgroups", Field: "Groups", Object: "[0 5]", Err: unix.EPERM}},
		{vspawn.Attr{Chroot: "/"}, vspawn.Error{Step: "chroot", Field: "Chroot", Object: "/", Err: unix.EPERM}},
		{vspawn.Attr{Cloneflags: unix.CLONE_NEWUTS}, clone},
	} {
		_, err := vspawn.Start(noContext, "/x", nil, &c.attr)
		var e *vspawn.Error
		if !errors.As(err, &e) || e.Step != c.want.Step || e.Field != c.want.Field || e.Object != c.want.Object || e.Err != c.want.Err {
			fmt.Fprintf(os.Stderr, "got %v, want %v\n", err, &c.want)
			return 1
		}
	}
	return 0
})

// failingSteps has each kind of step, made to fail by a filter that the child
// itself installs first. The plan's first such call is the one that fails.
var failingSteps = []struct {
	attr vspawn.Attr
	want vspawn.Error // its cause is errFilter
	nr   uintptr
}{
	{vspawn.Attr{Setsid: true}, vspawn.Error{Step: "setsid", Field: "Setsid", Object: "()"}, unix.SYS_SETSID},
	{vspawn.Attr{Pgid: vspawn.Ptr(0)}, vspawn.Error{Step: "setpgid", Field: "Pgid", Object: "(0, 0)"}, unix.SYS_SETPGID},
	{vspawn.Attr{Setsid: true, TTY: vspawn.Ptr(0), ControllingTTY: true},
		vspawn.Error{Step: "ioctl", Field: "ControllingTTY", Object: "(0, TIOCSCTTY, 0)"}, unix.SYS_IOCTL},
	{vspawn.Attr{TTY: vspawn.Ptr(0), Foreground: true}, vspawn.Error{Step: "getpgid", Field: "Foreground"}, unix.SYS_GETPGID},
	{vspawn.Attr{TTY: vspawn.Ptr(0), Foreground: true}, vspawn.Error{Step: "ioctl", Field: "Foreground"}, unix.SYS_IOCTL},
	{vspawn.Attr{Umask: vspawn.Ptr(0o22)}, vspawn.Error{Step: "umask", Field: "Umask", Object: "(022)"}, unix.SYS_UMASK},
	{vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: 2}}}, vspawn.Error{Step: "dup3", Field: "Files", Object: "(2, 1, 0)"}, unix.SYS_DUP3},
	{vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: 2}, {Child: 2, Parent: 1}}}, vspawn.Error{Step: "dup3", Field: "Files", Object: ", O_CLOEXEC)"}, unix.SYS_DUP3},
	{vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: 1}}}, vspawn.Error{Step: "fcntl", Field: "Files", Object: "(1, F_SETFD, 0)"}, unix.SYS_FCNTL},
	{vspawn.Attr{}, vspawn.Error{Step: "close_range", Object: "the descriptors that the child is not given"}, unix.SYS_CLOSE_RANGE},
	{vspawn.Attr{Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_STACK}}}, vspawn.Error{Step: "prlimit64", Field: "Rlimits[0]", Object: "RLIMIT_STACK"}, unix.SYS_PRLIMIT64},
	{vspawn.Attr{Chroot: "/"}, vspawn.Error{Step: "chroot", Field: "Chroot", Object: "/"}, unix.SYS_CHROOT},
	{vspawn.Attr{Groups: []int{3, 5}}, vspawn.Error{Step: "setgroups", Field: "Groups", Object: "[3 5]"}, unix.SYS_SETGROUPS},
	{vspawn.Attr{GID: vspawn.Ptr(7), KeepGroups: true}, vspawn.Error{Step: "setresgid", Field: "GID", Object: "7"}, unix.SYS_SETRESGID},
	{vspawn.Attr{UID: vspawn.Ptr(7), KeepGroups: true}, vspawn.Error{Step: "setresuid", Field: "UID", Object: "7"}, unix.SYS_SETRESUID},
	{vspawn.Attr{Dir: "/"}, vspawn.Error{Step: "chdir", Field: "Dir", Object: "/"}, unix.SYS_CHDIR},
	{vspawn.Attr{Pdeathsig: unix.SIGTERM}, vspawn.Error{Step: "prctl", Field: "Pdeathsig", Object: "(PR_SET_PDEATHSIG, SIGTERM)"}, unix.SYS_PRCTL},
	{vspawn.Attr{Pdeathsig: unix.SIGTERM}, vspawn.Error{Step: "getppid", Field: "Pdeathsig"}, unix.SYS_GETPPID},
	{vspawn.Attr{IgnoreSignals: []syscall.Signal{unix.SIGUSR1}}, vspawn.Error{Step: "rt_sigaction", Field: "IgnoreSignals", Object: "SIGUSR1"}, unix.SYS_RT_SIGACTION},
	{vspawn.Attr{DefaultSignals: []syscall.Signal{unix.SIGUSR2}}, vspawn.Error{Step: "rt_sigaction", Field: "DefaultSignals", Object: "SIGUSR2"}, unix.SYS_RT_SIGACTION},
	{vspawn.Attr{SignalMask: []syscall.Signal{unix.SIGUSR2}}, vspawn.Error{Step: "rt_sigprocmask", Field: "SignalMask"}, unix.SYS_RT_SIGPROCMASK},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []vspawn.IDMap{{Size: 1}}}, vspawn.Error{Step: "write", Field: "UIDMap"}, unix.SYS_WRITE},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []vspawn.IDMap{{Size: 1}}}, vspawn.Error{Step: "read", Field: "UIDMap"}, unix.SYS_READ},
	{vspawn.Attr{}, vspawn.Error{Step: "execve", Object: "/x"}, unix.SYS_EXECVE},
}

// errFilter is an errno that none of these calls gives by itself.
const errFilter = unix.EXFULL

// Each kind of step, when it fails, is named with its field and its object,
// and nothing is left.
func TestFailingStep(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	features, err := vspawn.Features()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range failingSteps {
		leavesNothing(t, f.want.Step+" "+f.want.Field, func(t *testing.T) {
			switch {
			case f.nr == unix.SYS_CLOSE_RANGE && !features.CloseRangeCloexec:
				t.Skip("there is no close_range, and what is done instead can't fail")
			case f.nr == unix.SYS_RT_SIGACTION && !features.ClearSighand:
				f.want = vspawn.Error{Step: "rt_sigaction", Field: "DefaultSignals"} // the first of them resets a handler
			case f.attr.UIDMap != nil:
				needUserNamespaces(t)
				f.attr.UIDMap[0].Outside = os.Getuid()
			}
			attr := f.attr
			attr.Syscalls = denyInChild(t, f.nr, errFilter)
			_, err := vspawn.Start(t.Context(), "/x", nil, &attr)
			f.want.Err = errFilter
			checkError(t, err, f.want)
		})
	}
}

// denyInChild are calls that make a system call fail from then on in a child.
func denyInChild(t *testing.T, nr uintptr, errno unix.Errno) []vspawn.Syscall {
	filter := &[4]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(nr), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return []vspawn.Syscall{
		{Before: "Cgroup", Name: "prctl", Nr: unix.SYS_PRCTL, Args: [6]uintptr{unix.PR_SET_NO_NEW_PRIVS, 1}},
		{Before: "Cgroup", Name: "seccomp", Nr: unix.SYS_SECCOMP, Args: [6]uintptr{unix.SECCOMP_SET_MODE_FILTER, 0, pin(t, prog)}},
	}
}

// No step that a plan can have is missing from the list above.
func TestFailingStepsAreAll(t *testing.T) {
	all := vspawn.Attr{
		Dir: "/", Files: []vspawn.File{{Child: 1, Parent: 2}, {Child: 2, Parent: 1}, {Child: 0, Parent: 0}},
		Setsid: true, TTY: vspawn.Ptr(0), ControllingTTY: true, Foreground: true, Umask: vspawn.Ptr(0),
		Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_STACK}}, Chroot: "/",
		UID: vspawn.Ptr(0), GID: vspawn.Ptr(0), Groups: []int{0},
		SignalMask: []syscall.Signal{unix.SIGHUP}, DefaultSignals: []syscall.Signal{unix.SIGHUP}, IgnoreSignals: []syscall.Signal{unix.SIGINT},
		Pdeathsig: unix.SIGHUP, Cloneflags: unix.CLONE_NEWUSER,
		UIDMap: []vspawn.IDMap{{Size: 1}}, GIDMap: []vspawn.IDMap{{Size: 1}}, AllowSetgroups: true,
	}
	group := vspawn.Attr{Pgid: vspawn.Ptr(0)} // which contradicts Setsid
	known := []string{"clone3"}               // see failingStarts
	for _, f := range failingSteps {
		known = append(known, f.want.Step)
	}
	for _, attr := range []vspawn.Attr{all, group} {
		plan, err := vspawn.Compile("/x", nil, &attr)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^(\w+)\(`).FindAllStringSubmatch(plan.String(), -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("no test makes %s fail", m[1])
			}
		}
	}
}
