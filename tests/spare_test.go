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
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// spareKinds are starts in which the child keeps descriptors at other numbers for a
// while. The highest number that they name is tiny.FD; a and b are open.
var spareKinds = []struct {
	name string
	attr func(t *testing.T, a, b int) *vspawn.Attr
}{
	{"a cycle", func(_ *testing.T, a, b int) *vspawn.Attr {
		return &vspawn.Attr{Files: []vspawn.File{{Child: a, Parent: vspawn.FD(b)}, {Child: b, Parent: vspawn.FD(a)}}}
	}},
	{"two cycles", func(_ *testing.T, a, b int) *vspawn.Attr {
		return &vspawn.Attr{Files: []vspawn.File{{Child: a, Parent: vspawn.FD(b)}, {Child: b, Parent: vspawn.FD(a)},
			{Child: 1, Parent: vspawn.FD(2)}, {Child: 2, Parent: vspawn.FD(1)}}}
	}},
	{"files that the child opens", func(t *testing.T, a, b int) *vspawn.Attr {
		return &vspawn.Attr{Dir: newDir(t), Files: []vspawn.File{{Child: a, Path: "x"}, {Child: b, Path: "y"}}}
	}},
	{"DirFD whose number is taken", func(_ *testing.T, a, b int) *vspawn.Attr {
		return &vspawn.Attr{DirFD: vspawn.FD(a), Files: []vspawn.File{{Child: a, Parent: vspawn.FD(b)}}}
	}},
	{"ExecFD whose number is taken", func(t *testing.T, a, b int) *vspawn.Attr {
		helper.SkipEmulated(t, "program that the kernel could start itself")
		return &vspawn.Attr{ExecFD: vspawn.FD(a), Files: []vspawn.File{{Child: a, Parent: vspawn.FD(b)}}}
	}},
	{"Landlock", func(t *testing.T, a, b int) *vspawn.Attr {
		needLandlock(t, 1)
		return &vspawn.Attr{NoNewPrivs: true, Files: []vspawn.File{{Child: a, Parent: vspawn.FD(b)}}, Landlock: &vspawn.Landlock{
			FS: unix.LANDLOCK_ACCESS_FS_MAKE_SOCK, Paths: []vspawn.LandlockPath{{Path: newDir(t), Allow: unix.LANDLOCK_ACCESS_FS_MAKE_SOCK}}}}
	}},
}

// newDir is a directory with the files x and y.
func newDir(t *testing.T) string {
	t.Helper()
	dir := realTemp(t)
	for _, name := range []string{"x", "y"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// openAt opens a file at a number, close-on-exec, until the test ends.
func openAt(t *testing.T, fd, flags int, path string) {
	t.Helper()
	f, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(f)
	if err := unix.Dup3(f, fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
}

// The numbers at which a child keeps descriptors for a while are free: in the table
// that it inherits, and of those that its Syscalls name.
func TestSpareNumbers(t *testing.T) {
	for _, k := range spareKinds {
		t.Run(k.name, func(t *testing.T) {
			const a, b = 50, 51
			for _, fd := range []int{a, b} {
				openAt(t, fd, unix.O_RDONLY, realTemp(t))
			}
			t.Run("InheritFiles", func(t *testing.T) { spareInherit(t, k.attr(t, a, b)) })
			t.Run("Syscalls", func(t *testing.T) { spareSyscalls(t, k.attr(t, a, b)) })
		})
	}
}

// startSpare starts a program, by a descriptor if attr has one for it.
func startSpare(t *testing.T, argv []string, attr *vspawn.Attr) *vspawn.Process {
	t.Helper()
	path := argv[0]
	if attr.ExecFD != nil {
		if err := openedAt(path, int(attr.ExecFD.(vspawn.FD))); err != nil {
			t.Fatal(err)
		}
		path = ""
	}
	p, err := vspawn.Start(t.Context(), path, argv, attr)
	if err != nil {
		if _, none := os.Stat("/dev/fd"); none != nil && attr.ExecFD != nil && attr.Syscalls != nil && errors.Is(err, unix.ENOENT) {
			t.Skip("TOMOYO before Linux 6.12 looks for the program in /dev/fd, and beside Syscalls nothing else does")
		}
		t.Fatal(err)
	}
	return p
}

// spareInherit has a child inherit descriptors just above what it is given, and
// where the limit of them allows it, high ones.
func spareInherit(t *testing.T, attr *vspawn.Attr) {
	numbers := []int{tiny.FD + 1, tiny.FD + 2, tiny.FD + 3, tiny.FD + 5, tiny.FD + 6, 4096, 4097, 4098, 4100}
	want := map[int]inode{}
	dir := realTemp(t)
	for _, fd := range numbers {
		path := filepath.Join(dir, fmt.Sprint(fd))
		f, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(f)
		switch err := unix.Dup3(f, fd, 0); {
		case err == unix.EBADF && fd >= 4096:
			t.Logf("the limit of descriptors does not allow %d", fd)
			continue
		case err != nil:
			t.Fatal(err)
		}
		defer unix.Close(fd)
		want[fd] = inodeOf(fd)
	}
	attr.InheritFiles = true
	for _, f := range attr.Files {
		if f.Path == "" {
			want[f.Child] = inodeOf(int(f.Parent.(vspawn.FD)))
		} else {
			want[f.Child] = statInode(t, filepath.Join(attr.Dir, f.Path))
		}
	}
	if attr.DirFD != nil {
		want[unix.AT_FDCWD] = inodeOf(int(attr.DirFD.(vspawn.FD)))
	}
	puppet := tiny.New(t)
	argv := tiny.Argv(t)
	p := startSpare(t, argv, withFile(attr, tiny.FD, puppet.Child))
	b := &batch{do: puppet.Do}
	got := map[int]func() inode{}
	for fd := range want {
		got[fd] = b.inode(fd, "")
	}
	b.run()
	for fd, i := range want {
		equal(t, fmt.Sprint("descriptor ", fd), got[fd](), i)
	}
	puppet.Close()
	wait(t, p, "exit status 0")
}

// spareSyscalls has a child's Syscalls use descriptors just above what it is given,
// one of which they make themselves.
func spareSyscalls(t *testing.T, attr *vspawn.Attr) {
	dir := realTemp(t)
	const size = 77 // of those that the Syscalls change
	var paths []string
	for i := range 6 {
		path := filepath.Join(dir, fmt.Sprint(i))
		openAt(t, tiny.FD+1+i, unix.O_RDWR|unix.O_CREAT, path)
		attr.Syscalls = append(attr.Syscalls, vspawn.Syscall{Before: "SignalMask", Name: "ftruncate", Nr: unix.SYS_FTRUNCATE,
			Args: [6]uintptr{uintptr(tiny.FD + 1 + i), size}})
		paths = append(paths, path)
	}
	const own = tiny.FD + 7 // free in the parent
	attr.Syscalls = append(attr.Syscalls,
		vspawn.Syscall{Before: "Cgroup", Name: "dup3", Nr: unix.SYS_DUP3, Args: [6]uintptr{tiny.FD + 1, own}},
		vspawn.Syscall{Before: "SignalMask", Name: "ftruncate", Nr: unix.SYS_FTRUNCATE, Args: [6]uintptr{own, size + 1}})
	attr.Files = append(attr.Files, vspawn.File{Child: tiny.FD, Parent: vspawn.FD(2)})
	wait(t, startSpare(t, exits(t, 0), attr), "exit status 0")
	for i, path := range paths {
		want := int64(size)
		if i == 0 {
			want++
		}
		if info, err := os.Stat(path); err != nil || info.Size() != want {
			t.Errorf("the file at descriptor %d: %v, %v, want its size %d", tiny.FD+1+i, info, err, want)
		}
	}
}

// Where the limit leaves no number for a descriptor on its way, a start is refused;
// where it leaves one, also below those that the child is given, it goes well.
func TestFilesSpareRefused(t *testing.T) {
	r, w := blockingPipe(t)
	p, err := start(t, spareRefusedHelper.Argv(),
		&vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: w}, {Child: 2, Parent: vspawn.FD(2)}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	s := readReport(t, p, r)
	equal(t, "descriptors", [2]inode{s.Files[10], s.Files[11]}, [2]inode{statInode(t, os.DevNull), statInode(t, "/")})
}

var spareRefusedHelper = helper.New("spare-refused", func([]string) int {
	const a, b, limit = 10, 11, 150
	err := errors.Join(openedAt("/", a), openedAt(os.DevNull, b), openedAt("/", 2*limit))
	if _, probed := vspawn.Features(); err != nil || probed != nil {
		fmt.Fprintln(os.Stderr, err, probed)
		return 1
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		panic(err)
	}
	var filled []int
	for {
		fd, err := unix.FcntlInt(a, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			break
		}
		filled = append(filled, fd)
	}
	cycle := []vspawn.File{{Child: 1, Parent: vspawn.FD(1)}, {Child: 2, Parent: vspawn.FD(2)},
		{Child: a, Parent: vspawn.FD(b)}, {Child: b, Parent: vspawn.FD(a)}}
	argv := reportHelper.Argv(toStandardOutput)
	for i, attr := range []*vspawn.Attr{
		{InheritFiles: true, Files: cycle},
		{InheritFiles: true, Files: []vspawn.File{{Child: a, Path: "/"}}},
		{Syscalls: []vspawn.Syscall{{Nr: unix.SYS_GETPID}}, Files: cycle},
		{Files: append(cycle[:4:4], vspawn.File{Child: 3, Parent: vspawn.FD(2 * limit)})},
		{Files: append(cycle[:4:4], vspawn.File{Child: limit - 1, Parent: vspawn.FD(1)})},
		{Files: []vspawn.File{{Child: limit - 1, Path: "/"}}},
		{InheritFiles: true, DirFD: vspawn.FD(a), Files: []vspawn.File{{Child: a, Parent: vspawn.FD(b)}}},
	} {
		p, err := vspawn.Start(noContext, program(argv), argv, attr)
		var e *vspawn.Error
		if p != nil || !errors.As(err, &e) || e.Err != unix.EMFILE || !strings.HasPrefix(e.Field, "Files") ||
			!strings.Contains(e.Hint, "RLIMIT_NOFILE") {
			fmt.Fprintf(os.Stderr, "start %d: got %v\n", i, err)
			return 1
		}
	}
	for _, fd := range filled[:min(12, len(filled))] {
		unix.Close(fd)
	}
	return relay(vspawn.Start(noContext, program(argv), argv, &vspawn.Attr{
		Files: append(cycle, vspawn.File{Child: limit - 1, Parent: vspawn.FD(2 * limit)})}))
})
