//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// checkError checks that err is a *vspawn.Error with the given step, field,
// object (an end of it will do) and cause.
func checkError(t *testing.T, err error, want vspawn.Error) {
	t.Helper()
	var e *vspawn.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a *vspawn.Error", err)
	}
	if e.Step != want.Step || e.Field != want.Field || !strings.HasSuffix(e.Object, want.Object) ||
		!errors.Is(err, want.Err) {
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
		argv := waitHelper.Argv(strings.Repeat("x", 32*os.Getpagesize())) // MAX_ARG_STRLEN, with its NUL
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
		return "/x", nil, &vspawn.Attr{Dir: dir, UID: vspawn.Ptr(1000)},
			vspawn.Error{Step: "chdir", Field: "Dir", Object: dir, Err: unix.EACCES}
	}},
	{"Chroot", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		return "/x", nil, &vspawn.Attr{Chroot: "/no/such/root"}, vspawn.Error{Step: "chroot", Field: "Chroot", Object: "/no/such/root", Err: unix.ENOENT}
	}},
	{"Pgid", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		const none = 1<<22 + 1 // above the highest pid
		return "/x", nil, &vspawn.Attr{Pgid: vspawn.Ptr(none)},
			vspawn.Error{Step: "setpgid", Field: "Pgid", Object: fmt.Sprintf("(0, %d)", none), Err: unix.EPERM}
	}},
	{"ControllingTTY", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		r, _ := blockingPipe(t)
		fd := int(r.Fd())
		return "/x", nil, &vspawn.Attr{Setsid: true, TTY: vspawn.FD(fd), ControllingTTY: true},
			vspawn.Error{Step: "ioctl", Field: "ControllingTTY", Object: fmt.Sprintf("(%d, TIOCSCTTY, 0)", fd), Err: unix.ENOTTY}
	}},
	{"Foreground of a terminal that is not ours", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		tty := terminal(t)
		return "/x", nil, &vspawn.Attr{Pgid: vspawn.Ptr(0), TTY: vspawn.FD(tty), Foreground: true},
			vspawn.Error{Step: "ioctl", Field: "Foreground", Err: unix.ENOTTY}
	}},
	{"Rlimits", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		helper.SkipEmulated(t, "limits of the program's own")
		const more = 1 << 40 // than fs.nr_open can be
		return "/x", nil, &vspawn.Attr{Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_CORE},
				{Resource: unix.RLIMIT_NOFILE, Soft: more, Hard: more}}},
			vspawn.Error{Step: "prlimit64", Field: "Rlimits[1]", Object: "RLIMIT_NOFILE", Err: unix.EPERM}
	}},
	{"UIDMap", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		needUserNamespaces(t)
		m := vspawn.IDMap{Inside: 0, Outside: os.Getuid(), Size: 1}
		return "/x", nil, &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []vspawn.IDMap{m, m}},
			vspawn.Error{Step: "write", Field: "UIDMap", Object: "/uid_map", Err: unix.EINVAL}
	}},
	{"DirFD of a file", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		r, _ := blockingPipe(t)
		fd := int(r.Fd())
		return "/x", nil, &vspawn.Attr{DirFD: vspawn.FD(fd)},
			vspawn.Error{Step: "fchdir", Field: "DirFD", Object: fmt.Sprint(fd), Err: unix.ENOTDIR}
	}},
	{"ExecFD that is not executable", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		helper.SkipEmulated(t, "execveat")
		fd := openFile(t, programFile(t, "#!/bin/sh\n", 0o600))
		return "", []string{"x"}, &vspawn.Attr{ExecFD: vspawn.FD(fd)},
			vspawn.Error{Step: "execveat", Field: "ExecFD", Object: fmt.Sprint(fd), Err: unix.EACCES}
	}},
	{"ExecFD of a script", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		helper.SkipEmulated(t, "execveat")
		fd := openFile(t, programFile(t, "#!/proc/self/exe\n", 0o700))
		return "", []string{"x"}, &vspawn.Attr{ExecFD: vspawn.FD(fd)},
			vspawn.Error{Step: "execveat", Field: "ExecFD", Object: fmt.Sprint(fd), Err: unix.ENOENT}
	}},
	{"Path of no file", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		return "/x", nil, &vspawn.Attr{Files: []vspawn.File{{Child: 2, Parent: vspawn.FD(2)}, {Child: 0, Path: "/no/such/file"}}},
			vspawn.Error{Step: "openat", Field: "Files[1]", Object: "/no/such/file", Err: unix.ENOENT}
	}},
	{"Path of another's file", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		needCapability(t, unix.CAP_SETUID, "become another")
		path := programFile(t, "", 0o600)
		return "/x", nil, &vspawn.Attr{UID: vspawn.Ptr(1000), Files: []vspawn.File{{Child: 0, Path: path}}},
			vspawn.Error{Step: "openat", Field: "Files[0]", Object: path, Err: unix.EACCES}
	}},
	{"Path in another root", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		return "/x", nil, &vspawn.Attr{Chroot: newRoot(t), Files: []vspawn.File{{Child: 0, Path: os.DevNull}}},
			vspawn.Error{Step: "openat", Field: "Files[0]", Object: os.DevNull, Err: unix.ENOENT}
	}},
	{"Scheduler", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		helper.SkipEmulated(t, "scheduler")
		return "/x", nil, &vspawn.Attr{Scheduler: &vspawn.Scheduler{Policy: unix.SCHED_FIFO}}, // without a priority
			vspawn.Error{Step: "sched_setattr", Field: "Scheduler", Err: unix.EINVAL}
	}},
	{"Affinity", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		const none = 8191
		return "/x", nil, &vspawn.Attr{Affinity: []int{none}}, vspawn.Error{Step: "sched_setaffinity", Field: "Affinity", Object: "[8191]", Err: unix.EINVAL}
	}},
	{"Setns of a file that is no namespace", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		helper.SkipEmulated(t, "setns")
		r, _ := blockingPipe(t)
		fd := int(r.Fd())
		return "/x", nil, &vspawn.Attr{Setns: []vspawn.Namespace{{FD: vspawn.FD(fd)}}},
			vspawn.Error{Step: "setns", Field: "Setns[0]", Object: fmt.Sprintf("0 of descriptor %d", fd), Err: unix.EINVAL}
	}},
	{"Setns of no process", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		if f, err := vspawn.Features(); err != nil || !f.Pidfd {
			t.Skip("there is no pidfd")
		}
		const none = 1<<22 + 1 // above the highest pid
		return "/x", nil, &vspawn.Attr{Setns: []vspawn.Namespace{{Pid: none, Flags: unix.CLONE_NEWUTS}}},
			vspawn.Error{Step: "pidfd_open", Field: "Setns[0]", Object: fmt.Sprintf("CLONE_NEWUTS of pid %d", none), Err: unix.ESRCH}
	}},
	{"Setns of time", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		needCapability(t, unix.CAP_SYS_ADMIN, "enter namespaces")
		helper.SkipEmulated(t, "setns")
		helper.SkipNoMMU(t, "there are no time namespaces")
		fd := openFile(t, "/proc/self/ns/time")
		return "/x", nil, &vspawn.Attr{Setns: []vspawn.Namespace{{FD: vspawn.FD(fd)}}},
			vspawn.Error{Step: "setns", Field: "Setns[0]", Err: unix.EUSERS}
	}},
	{"Mounts", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		needUserNamespaces(t)
		return "/x", nil, &vspawn.Attr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUSER,
				Mounts: []vspawn.Mount{{Target: "/", Flags: unix.MS_PRIVATE}, {Source: "x", Target: "/no/such/dir", Type: "tmpfs"}}},
			vspawn.Error{Step: "mount", Field: "Mounts[1]", Object: "/no/such/dir", Err: unix.ENOENT}
	}},
	{"PivotRoot of what is no mount point", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		needUserNamespaces(t)
		dir := t.TempDir()
		return "/x", nil, &vspawn.Attr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUSER, PivotRoot: dir},
			vspawn.Error{Step: "pivot_root", Field: "PivotRoot", Object: dir, Err: unix.EINVAL}
	}},
	{"PivotRoot whose old root stays", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		attr, _ := pivot(t)
		attr.Syscalls = append(attr.Syscalls, denyInChild(t, unix.SYS_UMOUNT2, errFilter)...)
		return "/x", nil, attr, vspawn.Error{Step: "umount2", Field: "PivotRoot", Object: "the old root", Err: errFilter}
	}},
	{"KeepCaps that is locked", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		needCapability(t, unix.CAP_SETPCAP, "set securebits")
		return "/x", nil, &vspawn.Attr{Securebits: vspawn.Ptr(secbitKeepCapsLocked), KeepCaps: true},
			vspawn.Error{Step: "prctl", Field: "KeepCaps", Object: "(PR_SET_KEEPCAPS, 1, 0, 0, 0)", Err: unix.EPERM}
	}},
	{"Ambient that is not bounded", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		needCapability(t, unix.CAP_SETPCAP, "set securebits")
		const noAmbient = 1 << 6
		return "/x", nil, &vspawn.Attr{Securebits: vspawn.Ptr(noAmbient), Ambient: vspawn.Caps(someCap)},
			vspawn.Error{Step: "prctl", Field: "Ambient", Object: "(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 10, 0, 0)", Err: unix.EPERM}
	}},
	{"Landlock", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		needLandlock(t, 1)
		return "/x", nil, &vspawn.Attr{NoNewPrivs: true,
				Landlock: &vspawn.Landlock{FS: 1, Paths: []vspawn.LandlockPath{{Path: "/no/such/path", Allow: 1}}}},
			vspawn.Error{Step: "openat", Field: "Landlock", Object: "/no/such/path", Err: unix.ENOENT}
	}},
	{"Landlock of a right that is unknown", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		needLandlock(t, 1)
		return "/x", nil, &vspawn.Attr{NoNewPrivs: true, Landlock: &vspawn.Landlock{FS: 1 << 63}},
			vspawn.Error{Step: "landlock_create_ruleset", Field: "Landlock", Err: unix.EINVAL}
	}},
	{"Landlock of an execution", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		needLandlock(t, 1)
		path := programFile(t, "#!/bin/sh\n", 0o700)
		return path, nil, &vspawn.Attr{NoNewPrivs: true, Landlock: &vspawn.Landlock{FS: unix.LANDLOCK_ACCESS_FS_EXECUTE}},
			vspawn.Error{Step: "execve", Object: path, Err: unix.EACCES}
	}},
	{"Seccomp", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		helper.SkipEmulated(t, "seccomp")
		return "/x", nil, &vspawn.Attr{NoNewPrivs: true, Seccomp: deny(0, 0)[:3]}, // which has no end
			vspawn.Error{Step: "seccomp", Field: "Seccomp", Object: "a filter of 3 instructions", Err: unix.EINVAL}
	}},
	{"Seccomp that forbids exec", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		helper.SkipEmulated(t, "seccomp")
		return "/x", nil, &vspawn.Attr{NoNewPrivs: true, Seccomp: deny(unix.SYS_EXECVE, errFilter)},
			vspawn.Error{Step: "execve", Object: "/x", Err: errFilter}
	}},
	{"Cgroup that is none", func(t *testing.T) (string, []string, *vspawn.Attr, vspawn.Error) {
		r, _ := blockingPipe(t)
		fd := int(r.Fd())
		want := vspawn.Error{Step: "clone3", Field: "Cgroup", Object: fmt.Sprint(fd), Err: unix.EBADF}
		if f, err := vspawn.Features(); err != nil || !f.Clone3 {
			want = vspawn.Error{Step: "clone", Field: "Cgroup", Err: unix.ENOSYS}
		}
		return "/x", nil, &vspawn.Attr{Cgroup: vspawn.FD(fd)}, want
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
		plan, err := vspawn.Compile("/x", nil, &vspawn.Attr{Files: []vspawn.File{{Child: 70, Parent: vspawn.FD(fd)}}})
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		_, err = plan.Start(t.Context())
		checkError(t, err, vspawn.Error{Step: "dup3", Field: "Files", Object: fmt.Sprintf("(%d, 70, 0)", fd), Err: unix.EBADF})
	})
}
