//go:build linux

package tests

import (
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// sources opens n files at the numbers from first on, close-on-exec or not by
// turns.
func sources(t *testing.T, first, n int) {
	t.Helper()
	for fd := first; fd < first+n; fd++ {
		r, _ := blockingPipe(t)
		flags := unix.O_CLOEXEC
		if fd%2 == 1 {
			flags = 0
		}
		if err := unix.Dup3(int(r.Fd()), fd, flags); err != nil {
			t.Fatal(err)
		}
		r.Close()
		t.Cleanup(func() { unix.Close(fd) })
	}
}

// checkTable starts a child with the descriptors of table, from target to
// source, and checks that it has them and no others.
func checkTable(t *testing.T, table map[int]int) {
	t.Helper()
	files := []vspawn.File{}
	want := map[int]inode{}
	for child, parent := range table {
		files = append(files, vspawn.File{Child: child, Parent: vspawn.FD(parent)})
		want[child] = inodeOf(parent)
	}
	got := report(t, &vspawn.Attr{Files: files}).Files
	if !maps.Equal(got, want) {
		t.Errorf("the table %v: the child has %v, want %v", table, got, want)
	}
}

func statInode(t *testing.T, path string) inode {
	t.Helper()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(path, ": ", err)
	}
	defer unix.Close(fd)
	return inodeOf(fd)
}

// The child's descriptors are those that were asked for, whatever overlaps
// what, and no others, close-on-exec or not.
func TestFiles(t *testing.T) {
	const a, b, c, d, e = 50, 51, 52, 53, 54
	sources(t, a, 10)
	sources(t, 600, 2)
	for _, x := range []struct {
		name  string
		table map[int]int
	}{
		{"none", map[int]int{}},
		{"the same numbers", map[int]int{a: a, b: b}}, // one of them close-on-exec, which has to go
		{"standard", map[int]int{0: a, 1: b, 2: c}},
		{"swapped", map[int]int{a: b, b: a}},
		{"a cycle of three", map[int]int{a: b, b: c, c: a}},
		{"two cycles with tails", map[int]int{a: b, b: a, c: d, d: c, e: a, 3: c}},
		{"a chain upwards", map[int]int{b: a, c: b, d: c}},
		{"a chain downwards", map[int]int{a: b, b: c, c: d}},
		{"one to many", map[int]int{3: a, 4: a, a: a, b: a, 700: a}},
		{"gaps", map[int]int{4: a, b: b, 57: 57, 300: 600, 601: 601}},
		{"far", map[int]int{1000: 600, 600: a}},
	} {
		t.Run(x.name, func(t *testing.T) { checkTable(t, x.table) })
	}
	t.Run("random", func(t *testing.T) {
		rng := rand.New(rand.NewSource(1))
		for range 6 {
			table := map[int]int{}
			for range rng.Intn(8) {
				table[a+rng.Intn(6)] = a + rng.Intn(6)
			}
			checkTable(t, table)
		}
	})
}

// nil in Attr.Files passes on 0, 1 and 2, and nothing else.
func TestFilesInherited(t *testing.T) {
	sources(t, 50, 2)
	// The report goes by standard output, in place of the test's own.
	r, w := blockingPipe(t)
	p, err := start(t, onlyStandardHelper.Argv(), &vspawn.Attr{Files: []vspawn.File{
		{Child: 0, Parent: vspawn.FD(50)}, {Child: 1, Parent: w}, {Child: 2, Parent: vspawn.FD(51)}}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]inode{0: inodeOf(50), 1: inodeOf(int(w.Fd())), 2: inodeOf(51)}
	w.Close()
	s := readReport(t, p, r)
	delete(s.Files, reportFD)
	equal(t, "descriptors", s.Files, want)
}

// onlyStandardHelper starts a child without Files, and has descriptors of all
// kinds open. The child reports by standard output.
var onlyStandardHelper = helper.New("only-standard", func([]string) int {
	unix.Dup3(1, 40, 0)
	unix.Dup3(1, 41, unix.O_CLOEXEC)
	argv := reportHelper.Argv(toStandardOutput)
	return relay(vspawn.Start(noContext, program(argv), argv, nil))
})

// InheritFiles passes on what is not close-on-exec, at its own number, except
// in CloseRanges, and whatever Files adds.
func TestInheritFiles(t *testing.T) {
	const first = 50
	sources(t, first, 20)
	own := map[int]inode{}
	for fd := range scanned {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			own[fd] = inodeOf(fd)
		}
	}
	files := []vspawn.File{{Child: first, Parent: vspawn.FD(first)}, {Child: first + 2, Parent: vspawn.FD(first + 1)},
		{Child: first + 3, Parent: vspawn.FD(first + 5)}}
	const no = -1
	for _, x := range []struct {
		name   string
		files  []vspawn.File
		closed []vspawn.Range
		last   int // of those that are left
	}{
		{"all", nil, nil, no},
		{"and more", files, nil, no},
		{"but for some", files, []vspawn.Range{{First: 57, Last: 57}, {First: 60, Last: 64}}, no},
		{"but for the rest", files, []vspawn.Range{{First: 59, NoEnd: true}}, 58},
		{"but for ranges with Files in them", files, []vspawn.Range{{First: 51, Last: 53}, {First: 53, Last: 56}, {First: 50, Last: 50}}, no},
		{"but for all", files, []vspawn.Range{{First: 1, Last: 1}, {First: 3, NoEnd: true}}, 53},
	} {
		t.Run(x.name, func(t *testing.T) {
			want := maps.Clone(own)
			maps.DeleteFunc(want, func(fd int, _ inode) bool {
				for _, r := range x.closed {
					if fd >= r.First && (fd <= r.Last || r.NoEnd) {
						return true
					}
				}
				return false
			})
			for _, f := range x.files {
				want[f.Child] = inodeOf(int(f.Parent.(vspawn.FD)))
			}
			r, w := blockingPipe(t)
			attr := &vspawn.Attr{InheritFiles: true, CloseRanges: x.closed,
				Files: append(x.files, vspawn.File{Child: 1, Parent: w})}
			p, err := start(t, reportHelper.Argv(toStandardOutput), attr)
			if err != nil {
				t.Fatal(err)
			}
			want[1] = inodeOf(int(w.Fd()))
			w.Close()
			equal(t, "descriptors", readReport(t, p, r).Files, want)
		})
	}
}

// The child opens Path itself: in its own directory and root, with its own
// umask and its own rights, whatever number the descriptor is to have.
func TestOpen(t *testing.T) {
	dir := realTemp(t)
	if err := os.WriteFile(filepath.Join(dir, "old"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	attr := &vspawn.Attr{Dir: dir, Umask: vspawn.Ptr(0o27), Files: []vspawn.File{
		{Child: 2, Parent: vspawn.FD(2)},
		{Child: 0, Path: "old"},
		{Child: 1, Path: "new", Flags: unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL, Mode: 0o666},
		{Child: 40, Path: "old", Flags: unix.O_RDWR},
		{Child: 3, Path: os.DevNull},
	}}
	user := os.Getuid()
	if user == 0 {
		user = 1000
		attr.UID = &user
		if err := errors.Join(os.Chmod(dir, 0o777), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, "old"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	s := report(t, attr)
	old, fresh := statInode(t, filepath.Join(dir, "old")), statInode(t, filepath.Join(dir, "new"))
	delete(s.Files, reportFD)
	equal(t, "descriptors", s.Files, map[int]inode{0: old, 1: fresh, 2: inodeOf(2), 3: statInode(t, os.DevNull), 40: old})
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "new"), &st); err != nil {
		t.Fatal(err)
	}
	equal(t, "owner of the new file", int(st.Uid), user)
	equal(t, "its mode", st.Mode&0o777, 0o640)

	t.Run("in its root", func(t *testing.T) {
		root := newRoot(t)
		s := report(t, &vspawn.Attr{Chroot: root, Files: append(inherited(), vspawn.File{Child: 3, Path: "/sub"})})
		equal(t, "file", s.Files[3], statInode(t, filepath.Join(root, "sub")))
	})
}

// With 0, 1 and 2 closed in the parent what vspawn opens for itself gets those
// numbers, which must not show.
func TestFilesStandardClosed(t *testing.T) {
	r, w := blockingPipe(t)
	p, err := start(t, standardClosedHelper.Argv(),
		&vspawn.Attr{Files: append(inherited(), vspawn.File{Child: reportFD, Parent: w})})
	if err != nil {
		t.Fatal(err)
	}
	pipe := inodeOf(int(w.Fd()))
	w.Close()
	s := readReport(t, p, r)
	equal(t, "descriptors", s.Files, map[int]inode{0: pipe, 1: pipe, 2: pipe, reportFD: pipe})
}

var standardClosedHelper = helper.New("standard-closed", func([]string) int {
	for fd := range 3 {
		unix.Close(fd)
	}
	attr := &vspawn.Attr{}
	for _, fd := range []int{0, 1, 2, reportFD} {
		attr.Files = append(attr.Files, vspawn.File{Child: fd, Parent: vspawn.FD(reportFD)})
	}
	argv := reportHelper.Argv()
	return relay(vspawn.Start(noContext, program(argv), argv, attr))
})

// Descriptors above RLIMIT_NOFILE, opened before it was lowered, can be
// sources, and are closed in the child like others.
func TestFilesAboveLimit(t *testing.T) {
	helper.SkipEmulated(t, "memory shared by vfork, but a report pipe, whose number is higher still")
	r, w := blockingPipe(t)
	p, err := start(t, aboveLimitHelper.Argv(),
		&vspawn.Attr{Files: append(inherited(), vspawn.File{Child: reportFD, Parent: w})})
	if err != nil {
		t.Fatal(err)
	}
	pipe := inodeOf(int(w.Fd()))
	w.Close()
	s := readReport(t, p, r)
	for fd := range 3 {
		delete(s.Files, fd)
	}
	equal(t, "descriptors", s.Files, map[int]inode{50: pipe, reportFD: pipe})
}

var aboveLimitHelper = helper.New("above-limit", func([]string) int {
	for _, fd := range []int{300, 301} {
		if err := unix.Dup3(reportFD, fd, 0); err != nil {
			panic(err)
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 150, Max: 150}); err != nil {
		panic(err)
	}
	argv := reportHelper.Argv()
	return relay(vspawn.Start(noContext, program(argv), argv, &vspawn.Attr{
		Files: append(inherited(), vspawn.File{Child: 50, Parent: vspawn.FD(300)}, vspawn.File{Child: reportFD, Parent: vspawn.FD(301)})}))
})

// relay waits for a child, in a helper, and has its exit status.
func relay(p *vspawn.Process, err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := p.Wait(noContext)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return s.ExitCode()
}
