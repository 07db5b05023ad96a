//go:build linux

package vspawn

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// attrsWith are all the places that a descriptor can have, with the field and the call
// that an error names.
func attrsWith(d Descriptor) []struct {
	field, call, path string
	attr              Attr
} {
	return []struct {
		field, call, path string
		attr              Attr
	}{
		{"DirFD", "fchdir", "/x", Attr{DirFD: d}},
		{"ExecFD", "execveat", "", Attr{ExecFD: d}},
		{"TTY", "ioctl", "/x", Attr{TTY: d, Foreground: true}},
		{"Cgroup", "clone3", "/x", Attr{Cgroup: d}},
		{"Setns[0]", "setns", "/x", Attr{Setns: []Namespace{{FD: d}}}},
		{"Files[0]", "dup3", "/x", Attr{Files: []File{{Child: 7, Parent: d}}}},
	}
}

// A file that is closed, or none, is refused like a number that is not open.
func TestDescriptorsRefused(t *testing.T) {
	closed, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, d := range map[string]Descriptor{
		"a closed file": closed, "a nil file": (*os.File)(nil), "a nil connection": (*net.UnixConn)(nil),
		"a number": FD(1000), "a negative number": FD(-1),
	} {
		for _, x := range attrsWith(d) {
			plan, err := Compile(x.path, []string{"x"}, &x.attr)
			var refused *AttrError
			if !errors.As(err, &refused) || refused.Field != x.field || plan != nil {
				t.Errorf("%s in %s: got %v", name, x.field, err)
			}
		}
	}
	for _, attr := range []Attr{{Files: []File{{Child: 1}}}, {Files: []File{{}}}, {Setns: []Namespace{{}}},
		{Setns: []Namespace{{Flags: unix.CLONE_NEWNET}}}} {
		var refused *AttrError
		if _, err := Compile("/x", nil, &attr); !errors.As(err, &refused) {
			t.Errorf("%+v: got %v", attr, err)
		}
	}
}

// A file that is closed between Compile and Start is an error of the start, though
// another has its number by then.
func TestDescriptorsClosed(t *testing.T) {
	features, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	for i := range attrsWith(nil) {
		f, err := os.Open("/")
		if err != nil {
			t.Fatal(err)
		}
		x := attrsWith(f)[i]
		if x.field == "Cgroup" && !features.Clone3 { // of which the error is then
			f.Close()
			continue
		}
		plan, err := Compile(x.path, []string{"x"}, &x.attr)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		another, err := os.Open("/dev/null") // and has the number
		if err != nil {
			t.Fatal(err)
		}
		p, err := plan.Start(t.Context())
		var e *Error
		if p != nil || !errors.As(err, &e) || e.Field != x.field || e.Step != x.call || e.Object != "/" ||
			e.Err != os.ErrClosed {
			t.Errorf("%s: got %v", x.field, err)
		}
		another.Close()
	}
}

// A plan keeps its files from the collector.
func TestDescriptorsKept(t *testing.T) {
	argv := exits(t, 0)
	plan := func() *Plan {
		f, err := os.Open("/")
		if err != nil {
			t.Fatal(err)
		}
		plan, err := Compile(argv[0], argv, &Attr{DirFD: f})
		if err != nil {
			t.Fatal(err)
		}
		return plan
	}()
	for range 3 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond) // for the finalizers
		p, err := plan.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
	plan.kept[0].Descriptor.(*os.File).Close()
}

// A file is left as it is: it does not begin to block, and its deadlines work.
func TestDescriptorsLeftAlone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	argv := exits(t, 0)
	p, err := Start(t.Context(), argv[0], argv, &Attr{Files: []File{{Child: 0, Parent: r}, {Child: 2, Parent: FD(2)}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	conn, err := r.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	conn.Control(func(fd uintptr) {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("flags %#x, %v", flags, err)
		}
	})
	r.SetReadDeadline(time.Now().Add(-time.Second))
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read beyond its deadline gave %v", err)
	}
}

// A connection is a descriptor too.
func TestDescriptorOfConnection(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := [2]net.Conn{}
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "socket")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
		defer ends[i].Close()
	}
	p := startHelper(t, &Attr{Files: []File{
		{Child: 0, Parent: ends[0].(*net.UnixConn)}, {Child: 1, Parent: ends[0].(*net.UnixConn)}}}, cat)
	ends[0].Close()
	const text = "through the child"
	if _, err := io.WriteString(ends[1], text); err != nil {
		t.Fatal(err)
	}
	ends[1].(*net.UnixConn).CloseWrite()
	if got, err := io.ReadAll(ends[1]); string(got) != text || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
		t.Error(s, err)
	}
}

// An FD is a Descriptor whose number is all that is known of it.
func TestFD(t *testing.T) {
	conn, err := FD(7).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Control(func(fd uintptr) {
		if fd != 7 {
			t.Errorf("got %d", fd)
		}
	}); err != nil {
		t.Error(err)
	}
	never := func(uintptr) bool { t.Error("called"); return true }
	if conn.Read(never) == nil || conn.Write(never) == nil {
		t.Error("a number waits for its file")
	}
}
