//go:build linux

package tests

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// What tests need around them: terminals, directories, cgroups and processes.

// terminal makes a terminal and gives a descriptor of it.
func terminal(t testing.TB) int {
	t.Helper()
	ptmx, tty, err := openTerminal()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ptmx) })
	t.Cleanup(func() { unix.Close(tty) })
	return tty
}

// openTerminal makes a terminal, for the caller to close both of its ends.
func openTerminal() (ptmx, tty int, err error) {
	if ptmx, err = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err != nil {
		return -1, -1, fmt.Errorf("/dev/ptmx: %w", err)
	}
	if err = unix.IoctlSetPointerInt(ptmx, unix.TIOCSPTLCK, 0); err == nil {
		var n int
		if n, err = unix.IoctlGetInt(ptmx, unix.TIOCGPTN); err == nil {
			tty, err = unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		}
	}
	if err != nil {
		unix.Close(ptmx)
		return -1, -1, fmt.Errorf("the other end of /dev/ptmx: %w", err)
	}
	return ptmx, tty, nil
}

// newRoot makes a directory that can be a root: it has the test binary, as
// /proc/self/exe, the puppet's program, and a directory /sub.
func newRoot(t *testing.T) string {
	t.Helper()
	needCapability(t, unix.CAP_SYS_CHROOT, "change the root directory")
	helper.SkipEmulated(t, "emulator in the new root")
	if dynamic(t) {
		t.Skip("this binary is linked dynamically, and the new root has no libraries")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp(filepath.Dir(exe), "root") // where the binary can be linked to
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"sub", "proc/self"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(exe, filepath.Join(root, "proc/self/exe")); err != nil {
		t.Fatal(err)
	}
	putPuppet(t, root)
	return root
}

// putPuppet makes the puppet's program reachable by its own path in root.
func putPuppet(t *testing.T, root string) {
	t.Helper()
	puppet := tiny.Argv(t)[0]
	program, err := os.ReadFile(puppet)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(puppet)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, puppet), program, 0o755); err != nil {
		t.Fatal(err)
	}
}

func dynamic(t *testing.T) bool {
	t.Helper()
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true
		}
	}
	return false
}

// cgroup makes a cgroup, and gives its directory and its path among cgroups.
func cgroup(t *testing.T) (dir *os.File, path string) {
	t.Helper()
	root, lacks := cgroupRoot()
	if lacks != "" {
		t.Skip(lacks)
	}
	path = fmt.Sprintf("/vspawn-test-%d", os.Getpid())
	if err := os.Mkdir(root+path, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeCgroup(t, root+path) })
	dir, err := os.Open(root + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir, path
}

// removeCgroup removes one. A process that another has reaped may still be on its way out
// of it.
func removeCgroup(t *testing.T, path string) {
	t.Helper()
	err := os.Remove(path)
	if errors.Is(err, unix.EBUSY) {
		emptied(t, path)
		err = os.Remove(path)
	}
	if err != nil {
		t.Error(err)
	}
}

// cgroupRoot is where the cgroups of version 2 are, or why none can be made.
func cgroupRoot() (root, lacks string) {
	if !hasCapability(unix.CAP_DAC_OVERRIDE) {
		return "", "no capability (CAP_DAC_OVERRIDE) to make a cgroup"
	}
	if f, err := vspawn.Features(); err != nil || !f.Clone3 {
		return "", "there is no clone3"
	}
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(root + "/cgroup.procs"); err == nil {
			return root, ""
		}
	}
	return "", "no cgroup2 file system at /sys/fs/cgroup"
}

// pin keeps what a child's system call points to on the heap until the test
// ends, and gives its address.
func pin[T any](t *testing.T, v *T) uintptr {
	var p runtime.Pinner
	p.Pin(v)
	t.Cleanup(p.Unpin)
	return asmtest.Addr(v)
}

// quick is a program that ends at once, with status 0.
func quick(t *testing.T) (path string, argv []string) {
	t.Helper()
	argv = exits(t, 0)
	return argv[0], argv
}

// exits is the command line of a program that ends with status.
func exits(t *testing.T, status byte) []string {
	t.Helper()
	return helper.Emulate(tiny.Exit(t, status))
}

// waiting starts a child that runs until the test ends.
func waiting(t testing.TB, attr *vspawn.Attr) *vspawn.Process {
	t.Helper()
	puppet := tiny.New(t)
	argv := tiny.Argv(t)
	p, err := vspawn.Start(t.Context(), argv[0], argv, withFile(attr, tiny.FD, puppet.Child))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		puppet.Child.Close()
		puppet.Close()
		reap(p)
	})
	return p
}

// waitHelper runs until its standard input ends.
var waitHelper = helper.New("wait", func([]string) int {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return 1
	}
	return 0
})

// atExec starts a child with attr, stops it before the first instruction of
// its program, and calls look. What a Go program does about its signals and
// limits when it begins has not happened then.
func atExec(attr *vspawn.Attr, look func(pid string)) error {
	runtime.LockOSThread() // a traced child belongs to a thread
	defer runtime.UnlockOSThread()
	a := *attr
	a.Ptrace = true
	p, err := vspawn.Start(noContext, "/proc/self/exe", waitHelper.Argv(), &a)
	if err != nil {
		return err
	}
	s, err := p.WaitFor(noContext, vspawn.Stopped|vspawn.Exited)
	if err == nil && s.Signal() != unix.SIGTRAP {
		err = fmt.Errorf("the child did not stop at exec: %v", s)
	}
	if err == nil {
		look(strconv.Itoa(p.Pid()))
	}
	return errors.Join(err, p.Kill(), reap(p))
}

// noContext is for helpers, and for what is done after a test.
var noContext = context.Background()

// reap waits for a child after its test, when the test's context has ended.
func reap(p *vspawn.Process) error {
	_, err := p.Wait(noContext)
	return err
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

func openFile(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(path, ": ", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}
