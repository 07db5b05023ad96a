//go:build linux

package tests

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// openedAt opens a file at a number, close-on-exec.
func openedAt(path string, fd int) error {
	f, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil || f == fd {
		return err
	}
	defer unix.Close(f)
	return unix.Dup3(f, fd, unix.O_CLOEXEC)
}

// A file that is closed between Compile and Start is not what has its number then,
// and nothing that a start opens for itself is taken for it.
func TestClosedSource(t *testing.T) {
	argv := exits(t, 0)
	t.Run("File", func(t *testing.T) {
		dir, err := os.Open("/")
		if err != nil {
			t.Fatal(err)
		}
		fd := int(dir.Fd())
		plan, err := vspawn.Compile(argv[0], argv, &vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: dir}}})
		if err != nil {
			t.Fatal(err)
		}
		dir.Close()
		if err := openedAt(os.DevNull, fd); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		_, err = plan.Start(t.Context())
		checkError(t, err, vspawn.Error{Step: "dup3", Field: "Files[0]", Object: "/", Err: os.ErrClosed})
	})
	for _, x := range []struct {
		name string
		attr vspawn.Attr
	}{
		{"Parent", vspawn.Attr{}},
		{"Parent of one who inherits", vspawn.Attr{InheritFiles: true}},
		{"Parent beside id maps", vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []vspawn.IDMap{{Outside: os.Getuid(), Size: 1}}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			if x.attr.UIDMap != nil {
				needUserNamespaces(t)
			}
			// What looks at the children of a start before may have the number just then, which
			// is as documented; the start's own descriptors would have it each time.
			for try := 1; ; try++ {
				p, err := startOfClosed(t, argv, &x.attr)
				if errors.Is(err, unix.EBADF) {
					break
				}
				if p != nil {
					wait(t, p, "exit status 0")
				}
				if err != nil || try == 10 {
					t.Fatalf("got %v, %v, want EBADF", p, err)
				}
			}
		})
	}
}

// startOfClosed starts a child with a source that is closed behind Compile. Its number is
// the one that the next to open something gets.
func startOfClosed(t *testing.T, argv []string, attr *vspawn.Attr) (*vspawn.Process, error) {
	t.Helper()
	fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	attr.Files = []vspawn.File{{Child: 1, Parent: vspawn.FD(fd)}}
	plan, err := vspawn.Compile(argv[0], argv, attr)
	unix.Close(fd)
	if err != nil {
		t.Fatal(err)
	}
	return plan.Start(t.Context())
}

// The descriptors of the parent's that attributes name are those that the child's
// steps use, though the child is given others at their numbers.
func TestNumbersTaken(t *testing.T) {
	tty := terminal(t)
	given := vspawn.File{Child: tty, Parent: vspawn.FD(2)}
	s := report(t, &vspawn.Attr{Setsid: true, TTY: vspawn.FD(tty), ControllingTTY: true, Foreground: true,
		Files: append(inherited(), given)})
	equal(t, "foreground group", s.Foreground, s.Pid)
	equal(t, "descriptor", s.Files[tty], inodeOf(2))

	dir := realTemp(t)
	const a, b = 50, 51
	openAt(t, a, unix.O_RDONLY, dir)
	openAt(t, b, unix.O_RDONLY, "/")
	s = report(t, &vspawn.Attr{DirFD: vspawn.FD(a), InheritFiles: true, CloseRanges: []vspawn.Range{{First: 3, NoEnd: true}},
		Files: append(inherited(), vspawn.File{Child: a, Parent: vspawn.FD(b)}, vspawn.File{Child: b, Parent: vspawn.FD(a)})})
	equal(t, "directory", s.Dir, dir)
	equal(t, "descriptors", [2]inode{s.Files[a], s.Files[b]}, [2]inode{statInode(t, "/"), statInode(t, dir)})

	t.Run("Setns", func(t *testing.T) {
		needCapability(t, unix.CAP_SYS_ADMIN, "enter a namespace")
		ns, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Skip("no UTS namespaces: ", err)
		}
		defer unix.Close(ns)
		s := report(t, &vspawn.Attr{Setns: []vspawn.Namespace{{FD: vspawn.FD(ns), Flags: unix.CLONE_NEWUTS}},
			Files: append(inherited(), vspawn.File{Child: ns, Parent: vspawn.FD(2)})})
		equal(t, "namespace", s.Namespaces["uts"], ownState().Namespaces["uts"])
		equal(t, "descriptor", s.Files[ns], inodeOf(2))
	})
}
