//go:build linux

package vspawn

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// locked tells whether this process has a lock on a file by F_SETLK: whether another
// would find it.
func locked(t *testing.T, fd int) bool {
	t.Helper()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock); err != nil {
		t.Fatal("F_OFD_GETLK: ", err)
	}
	return lock.Type != unix.F_UNLCK
}

// lockable are files on which a program may have locks.
var lockable = []struct {
	name string
	open func(t *testing.T) (string, error)
}{
	{"file", func(t *testing.T) (string, error) {
		path := t.TempDir() + "/file"
		return path, os.WriteFile(path, []byte("#!/interpreter\n"), 0o700)
	}},
	{"named pipe", func(t *testing.T) (string, error) {
		path := t.TempDir() + "/pipe"
		return path, unix.Mkfifo(path, 0o600)
	}},
}

// The locks that the parent has on a file by fcntl are still there when it has started
// a child with a copy of it.
func TestReserveKeepsLocks(t *testing.T) {
	reserve(t, 8)
	for _, x := range lockable {
		t.Run(x.name, func(t *testing.T) {
			path, err := x.open(t)
			if err != nil {
				t.Fatal(err)
			}
			file, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			file = high(t, file, 200)
			defer file.Close()
			fd := int(file.Fd())
			if err := unix.FcntlFlock(file.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
				t.Fatal("F_SETLK: ", err)
			}
			if !locked(t, fd) {
				t.Fatal("there is no lock")
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			r, w = high(t, r, 200), high(t, w, 200)
			defer r.Close()
			defer w.Close()
			for _, files := range [][]File{
				{{Child: 0, Parent: file}},
				{{Child: 0, Parent: FD(fd)}, {Child: 1, Parent: w}, {Child: 2, Parent: w}, {Child: 5, Parent: file}},
			} {
				p := startArgv(t, &Attr{Files: files}, exits(t, 0))
				if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
					t.Error(s, err)
				}
				if !locked(t, fd) {
					t.Fatalf("with %v the parent's lock is gone", files)
				}
			}
		})
	}
}

// To look whether a program is a script takes no locks off it, whichever way its
// descriptor is open.
func TestScriptKeepsLocks(t *testing.T) {
	path, err := lockable[0].open(t)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.FcntlFlock(file.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		t.Fatal("F_SETLK: ", err)
	}
	bare, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(bare) // which takes no lock off
	for _, fd := range []int{int(file.Fd()), bare} {
		if !isScript(fd) {
			t.Errorf("descriptor %d is of a script, and not found to be", fd)
		}
		if !locked(t, int(file.Fd())) {
			t.Errorf("isScript(%d) took the parent's lock off", fd)
		}
	}
	if isScript(0) {
		t.Error("descriptor 0 is found to be of a script")
	}
}
