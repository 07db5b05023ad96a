//go:build linux

package vspawn

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// An oddDescriptor does what it is made of.
type oddDescriptor struct {
	conn    func() (syscall.RawConn, error)
	control func(f func(uintptr)) error
}

func (d *oddDescriptor) SyscallConn() (syscall.RawConn, error) {
	if d.conn != nil {
		return d.conn()
	}
	return d, nil
}
func (d *oddDescriptor) Control(f func(uintptr)) error { return d.control(f) }
func (*oddDescriptor) Read(func(uintptr) bool) error   { panic("Read") }
func (*oddDescriptor) Write(func(uintptr) bool) error  { panic("Write") }

// One that gives no number is refused, and not taken for standard input.
func TestDescriptorWithoutNumber(t *testing.T) {
	broken := errors.New("broken")
	for name, d := range map[string]*oddDescriptor{
		"that does not call back": {control: func(func(uintptr)) error { return nil }},
		"that fails":              {control: func(func(uintptr)) error { return broken }},
		"that fails later":        {control: func(f func(uintptr)) error { f(0); return broken }},
		"without a connection":    {conn: func() (syscall.RawConn, error) { return nil, broken }},
		"of all ones":             {control: func(f func(uintptr)) error { f(^uintptr(0)); return nil }},
	} {
		for _, x := range attrsWith(d) {
			var refused *AttrError
			if _, err := Compile(x.path, []string{"x"}, &x.attr); !errors.As(err, &refused) || refused.Field != x.field {
				t.Errorf("one %s in %s: got %v", name, x.field, err)
			}
		}
	}
}

// One that changes its number after Compile is an error of the start, and may itself
// compile and start children when it is asked.
func TestDescriptorChanges(t *testing.T) {
	argv := exits(t, 0)
	var asked atomic.Int32
	run := func() {
		p, err := Start(t.Context(), argv[0], argv, nil)
		if err == nil {
			_, err = p.Wait(t.Context())
		}
		if err != nil {
			t.Error(err)
		}
	}
	d := &oddDescriptor{control: func(f func(uintptr)) error { run(); f(uintptr(min(asked.Add(1), 3)) - 1); return nil }}
	plan, err := Compile(argv[0], argv, &Attr{Files: []File{{Child: 1, Parent: d}}})
	if err != nil {
		t.Fatal(err)
	}
	var e *Error
	_, err = plan.Start(t.Context())
	if !errors.As(err, &e) || e.Field != "Files[0]" || e.Err != os.ErrClosed || asked.Load() != 2 {
		t.Errorf("got %v", err)
	}
}

// A file may be closed while plans that have it are started: each start fails with
// what it knows, or gives a child.
func TestDescriptorClosedMeanwhile(t *testing.T) {
	argv := exits(t, 0)
	for range helper.Rounds(10) {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := Compile(argv[0], argv, &Attr{DirFD: FD(openRoot(t)),
			Files: []File{{Child: 0, Parent: f}, {Child: 1, Parent: f}}})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				plan, err := plan.For(argv[0], argv, nil)
				if err != nil {
					t.Error(err)
					return
				}
				for {
					p, err := plan.Start(t.Context())
					if e := (*Error)(nil); errors.As(err, &e) && (e.Err == os.ErrClosed || e.Err == unix.EBADF) {
						if e.Err == os.ErrClosed {
							return
						}
						continue // it was closed in between
					} else if err != nil {
						t.Error(err)
						return
					}
					if _, err := p.Wait(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		time.Sleep(time.Millisecond)
		f.Close()
		wg.Wait()
	}
}

func openRoot(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// KillCgroup refuses what is no descriptor, too, before it kills anything.
func TestKillCgroupWithoutNumber(t *testing.T) {
	closed, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, d := range []Descriptor{nil, (*os.File)(nil), closed, FD(-1)} {
		var e *Error
		if err := KillCgroup(d); !errors.As(err, &e) || e.Step != "openat" || e.Object != "cgroup.kill" {
			t.Errorf("%v: got %v", d, err)
		}
	}
}
