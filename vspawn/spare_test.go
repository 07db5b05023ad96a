//go:build linux

package vspawn

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What the parent holds for a number on the way is never given to a child, though
// the copy that is to go there fails.
func TestSpareNotTaken(t *testing.T) {
	const child, limit = 40, 41 // no number above the child's own
	limits := &unix.Rlimit{Cur: limit, Max: limit}
	attr := &Attr{Files: []File{{Child: 1, Parent: FD(1)}, {Child: child, Path: "/dev/null"}}, Syscalls: []Syscall{
		{Before: "Files.Path", Name: "prlimit64", Nr: unix.SYS_PRLIMIT64, Args: [6]uintptr{0, unix.RLIMIT_NOFILE, pointer(limits)}}}}
	argv := exits(t, 0)
	plan, err := Compile(argv[0], argv, attr)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Start(t.Context())
	var e *Error
	if !errors.As(err, &e) || e.Step != "dup3" || e.Field != "Files[1]" || e.Err != unix.EBADF || !strings.HasSuffix(e.Object, "O_CLOEXEC)") {
		t.Errorf("got %v", err)
	}
	if p != nil {
		p.Wait(t.Context())
	}
}

// A start without such a number takes nothing from the parent's table.
func TestNoSpares(t *testing.T) {
	f, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	for _, attr := range []*Attr{
		{}, {InheritFiles: true}, {Syscalls: []Syscall{{Nr: unix.SYS_GETPID}}},
		{InheritFiles: true, Files: []File{{Child: 0, Parent: FD(1)}, {Child: 1, Parent: FD(2)}, {Child: 5, Parent: FD(0)}}},
	} {
		plan, err := Compile("/", nil, attr)
		if err != nil {
			t.Fatal(err)
		}
		if low, err := plan.borrow(f); low != nil || err != nil {
			t.Errorf("%+v: took %+v, %v", attr, low, err)
		}
	}
}
