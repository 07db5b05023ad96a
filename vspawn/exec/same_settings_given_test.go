//go:build linux

package exec

import (
	"os"
	"strings"
	"syscall"
)

// failingSettings don't start.
var failingSettings = []setting{
	failing("plain", func(*task, commander) {}),
	failing("no command", func(_ *task, c commander) { set(c, "Path", "") }),
	failing("Path missing", func(_ *task, c commander) { set(c, "Path", "/not/here") }),
	failing("Path relative", func(_ *task, c commander) { set(c, "Path", "not/here") }),
	failing("Path empty file", func(t *task, c commander) { set(c, "Path", t.under("empty")) }),
	failing("Path not executable", func(t *task, c commander) { set(c, "Path", t.under("file")) }),
	failing("Path directory", func(t *task, c commander) { set(c, "Path", t.Dir) }),
	failing("Path below file", func(t *task, c commander) { set(c, "Path", t.under("file/x")) }),
	failing("Path long", func(_ *task, c commander) { set(c, "Path", "/"+strings.Repeat("x", 300)) }),
	failing("Path too long", func(_ *task, c commander) { set(c, "Path", strings.Repeat("/x", 3000)) }),
	failing("Path of a loop", func(t *task, c commander) {
		os.Symlink("loop", t.under("loop"))
		set(c, "Path", t.under("loop"))
	}),
	failing("Path NUL", func(_ *task, c commander) { set(c, "Path", "\x00") }),
	failing("script without its interpreter", func(t *task, c commander) { set(c, "Path", t.under("script")) }),
	failing("program written to", func(t *task, c commander) {
		if _, err := os.OpenFile(t.under("root"+t.Puppet[len(t.Puppet)-1]), os.O_WRONLY, 0); err != nil {
			panic(err) // stays open
		}
		set(c, "Path", t.under("root"+t.Puppet[len(t.Puppet)-1]))
	}),
	failing("Args too long", func(_ *task, c commander) { set(c, "Args", []string{strings.Repeat("x", 1<<20)}) }),
	failing("Args NUL", func(_ *task, c commander) { set(c, "Args", []string{"a", "b\x00"}) }),
	failing("Env NUL", func(_ *task, c commander) { set(c, "Env", []string{"A=\x00"}) }),
	failing("Env NUL, Path NUL", func(_ *task, c commander) { set(c, "Env", []string{"A=\x00"}); set(c, "Path", "\x00") }),
	failing("Dir missing", func(_ *task, c commander) { set(c, "Dir", "/not/here") }),
	failing("Dir relative", func(_ *task, c commander) { set(c, "Dir", "not/here") }),
	failing("Dir file", func(t *task, c commander) { set(c, "Dir", t.under("file")) }),
	failing("Dir long", func(_ *task, c commander) { set(c, "Dir", strings.Repeat("x", 300)) }),
	failing("Dir NUL", func(_ *task, c commander) { set(c, "Dir", "/\x00") }),
	failing("Dir missing, Path missing", func(_ *task, c commander) { set(c, "Dir", "/not/here"); set(c, "Path", "/nor/here") }),
	failing("Dir missing, Path NUL", func(_ *task, c commander) { set(c, "Dir", "/not/here"); set(c, "Path", "\x00") }),
	failing("Dir missing, Args NUL", func(_ *task, c commander) { set(c, "Dir", "/not/here"); set(c, "Args", []string{"\x00"}) }),
	failing("Dir missing, bad ExtraFiles", func(_ *task, c commander) {
		set(c, "Dir", "/not/here")
		set(c, "ExtraFiles", []*os.File{os.NewFile(9999, "bad")})
	}),
	failing("Dir missing, SysProcAttr", func(_ *task, c commander) {
		set(c, "Dir", "/not/here")
		set(c, "SysProcAttr", &syscall.SysProcAttr{})
	}),
	failing("Dir NUL, SysProcAttr", func(_ *task, c commander) {
		set(c, "Dir", "\x00")
		set(c, "SysProcAttr", &syscall.SysProcAttr{})
	}),
	failing("Setctty and Foreground", func(_ *task, c commander) {
		set(c, "SysProcAttr", &syscall.SysProcAttr{Setctty: true, Foreground: true})
	}),
	failing("Setctty and Foreground, Args NUL", func(_ *task, c commander) {
		set(c, "Args", []string{"\x00"})
		set(c, "SysProcAttr", &syscall.SysProcAttr{Setctty: true, Foreground: true})
	}),
	failing("Setctty not there", func(_ *task, c commander) {
		set(c, "SysProcAttr", &syscall.SysProcAttr{Setctty: true, Ctty: 3, Chroot: "/not/here"})
	}),
	failing("Cancel without a context", func(_ *task, c commander) { set(c, "Cancel", func() error { return nil }) }),
	failing("Err", func(_ *task, c commander) { set(c, "Err", errBroken); set(c, "Path", "") }),
	failing("Stdin bad", func(_ *task, c commander) { set(c, "Stdin", os.NewFile(9999, "bad")) }),
	failing("Stdout bad", func(_ *task, c commander) { set(c, "Stdout", os.NewFile(9999, "bad")) }),
	failing("Stdin bad, Dir", func(_ *task, c commander) { set(c, "Stdin", os.NewFile(9999, "bad")); set(c, "Dir", "/") }),
	failing("ExtraFiles far", func(_ *task, c commander) { set(c, "ExtraFiles", []*os.File{os.NewFile(1<<30, "bad")}) }),
	failing("ExtraFiles wide", func(_ *task, c commander) {
		set(c, "ExtraFiles", []*os.File{os.NewFile(uintptr(long(1<<32|9999)), "bad")})
	}),
}

// givenSettings change what the child is given.
var givenSettings = []setting{
	puppets("nothing", func(*task, commander) {}),
	puppets("Args nil", func(_ *task, c commander) { set(c, "Args", []string(nil)) }),
	puppets("Args empty", func(_ *task, c commander) { set(c, "Args", []string{}) }),
	puppets("Args other", func(_ *task, c commander) { set(c, "Args", []string{"", "b", "ü"}) }),
	puppets("Env empty", func(_ *task, c commander) { set(c, "Env", []string{}) }),
	puppets("Env twice", func(_ *task, c commander) {
		set(c, "Env", []string{"A=1", "B=2", "", "A=3", "x", "x", "=C:=1", "=C:=2"})
	}),
	puppets("Dir", func(_ *task, c commander) { set(c, "Dir", "/dev/..") }),
	puppets("Dir, Env", func(_ *task, c commander) { set(c, "Dir", "/dev"); set(c, "Env", []string{"PWD=/x"}) }),
	puppets("Dir dot", func(_ *task, c commander) { set(c, "Dir", ".") }),
	puppets("Stdin closed", func(_ *task, c commander) { set(c, "Stdin", closedFile()) }),
	puppets("Stdin no file", func(_ *task, c commander) { set(c, "Stdin", (*os.File)(nil)) }),
	puppets("Stdout closed", func(_ *task, c commander) { set(c, "Stdout", closedFile()); set(c, "Stderr", closedFile()) }),
	puppets("ExtraFiles", func(_ *task, c commander) {
		set(c, "ExtraFiles", []*os.File{nil, os.Stdin, closedFile(), os.Stderr, os.Stdin})
	}),
	puppets("ExtraFiles crossed", func(_ *task, c commander) {
		set(c, "Stdin", os.Stderr)
		set(c, "Stderr", os.Stdin)
		set(c, "ExtraFiles", []*os.File{nil, os.Stdout, os.Stdin})
	}),
	puppets("SysProcAttr", func(_ *task, c commander) { set(c, "SysProcAttr", &syscall.SysProcAttr{}) }),
}
