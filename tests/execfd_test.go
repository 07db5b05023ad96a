//go:build linux

package tests

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// A descriptor is the program, also one that has no name, and one whose number
// another file gets.
func TestExecFD(t *testing.T) {
	helper.SkipEmulated(t, "program that the kernel could start itself")
	argv := reportHelper.Argv("argument")
	argv[0] = "name"
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	run := func(t *testing.T, fd int, more ...vspawn.File) *state {
		r, w := blockingPipe(t)
		p, err := vspawn.Start(t.Context(), "", argv, &vspawn.Attr{ExecFD: vspawn.FD(fd),
			Files: append([]vspawn.File{{Child: 2, Parent: vspawn.FD(2)}, {Child: reportFD, Parent: w}}, more...)})
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		s := readReport(t, p, r)
		equal(t, "argv", append([]string{s.Argv0}, s.Args...), []string{"name", "argument"})
		return s
	}
	t.Run("file", func(t *testing.T) {
		fd := int(file.Fd())
		equal(t, "its number in the child", run(t, fd).Files[fd], inode{})
	})
	t.Run("number taken", func(t *testing.T) {
		fd := int(file.Fd())
		equal(t, "its number in the child", run(t, fd, vspawn.File{Child: fd, Parent: vspawn.FD(2)}).Files[fd], inodeOf(2))
	})
	t.Run("memfd", func(t *testing.T) {
		helper.SkipNoMMU(t, "there is no memfd_create")
		fd, err := unix.MemfdCreate("program", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		mem := os.NewFile(uintptr(fd), "program")
		defer mem.Close()
		if _, err := file.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := mem.ReadFrom(file); err != nil {
			t.Fatal(err)
		}
		run(t, fd)
	})
}
