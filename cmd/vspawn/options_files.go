//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// descriptor takes one that we were given.
func descriptor(field func(*request) *vspawn.Descriptor) func(*request, string) error {
	return func(r *request, value string) error {
		fd, err := given(value)
		*field(r) = vspawn.FD(fd)
		return err
	}
}

// given parses a descriptor of ours. None that we were given is close-on-exec;
// what is, is our own runtime's.
func given(value string) (fd int, err error) {
	if fd, err = strconv.Atoi(value); err != nil {
		return 0, fmt.Errorf("%q: %w", value, cause(err))
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		return 0, fmt.Errorf("descriptor %d is not open", fd)
	}
	return fd, nil
}

// setTTY takes any number: what is no terminal of ours, Start says.
func setTTY(r *request, value string) error {
	fd, err := strconv.ParseInt(value, 10, 32)
	if err != nil {
		return cause(err)
	}
	r.attr.TTY = vspawn.FD(fd)
	return nil
}

func setFile(r *request, value string) error {
	to, from, ok := strings.Cut(value, "=")
	if !ok {
		return errors.New("want CHILD=OURS")
	}
	child, err := r.vacate(to)
	if err != nil {
		return err
	}
	if from == "-" {
		r.closed = append(r.closed, child)
		return nil
	}
	parent, err := given(from)
	r.attr.Files = append(r.attr.Files, vspawn.File{Child: child, Parent: vspawn.FD(parent)})
	return err
}

func setOpen(r *request, value string) error {
	to, path, ok := strings.Cut(value, "=")
	parts := strings.Split(to, ":")
	if !ok || path == "" || len(parts) > 3 {
		return errors.New("want CHILD[:FLAG,...[:MODE]]=PATH")
	}
	child, err := r.vacate(parts[0])
	if err != nil {
		return err
	}
	f := vspawn.File{Child: child, Path: path, Mode: 0o666}
	if len(parts) > 1 {
		set, err := bits(parts[1], "flag of open", openFlags)
		if err != nil {
			return err
		}
		f.Flags = int(set &^ readAccess)
		if set&readAccess != 0 && set&unix.O_WRONLY != 0 {
			f.Flags = f.Flags&^unix.O_WRONLY | unix.O_RDWR
		}
	}
	if len(parts) > 2 {
		mode, err := strconv.ParseUint(parts[2], 8, 32)
		if err != nil {
			return fmt.Errorf("%q: %w", parts[2], cause(err))
		}
		f.Mode = uint32(mode)
	}
	r.attr.Files = append(r.attr.Files, f)
	return nil
}

// readAccess stands for O_RDONLY, which is no bit.
const readAccess = 1 << 63

// openFlags are those of open(2), without their prefix.
var openFlags = map[string]uint64{
	"read": readAccess, "write": unix.O_WRONLY, "append": unix.O_APPEND, "creat": unix.O_CREAT, "directory": unix.O_DIRECTORY,
	"dsync": unix.O_DSYNC, "excl": unix.O_EXCL, "noatime": unix.O_NOATIME, "noctty": unix.O_NOCTTY, "nofollow": unix.O_NOFOLLOW,
	"nonblock": unix.O_NONBLOCK, "path": unix.O_PATH, "sync": unix.O_SYNC, "tmpfile": unix.O_TMPFILE, "trunc": unix.O_TRUNC,
}

// vacate makes room in the child's table, which begins with 0, 1 and 2.
func (r *request) vacate(number string) (child int, err error) {
	if child, err = strconv.Atoi(number); err != nil {
		return 0, fmt.Errorf("%q: %w", number, cause(err))
	}
	if r.attr.Files == nil {
		r.attr.Files = []vspawn.File{{Child: 0, Parent: vspawn.FD(0)}, {Child: 1, Parent: vspawn.FD(1)},
			{Child: 2, Parent: vspawn.FD(2)}}
	}
	r.attr.Files = slices.DeleteFunc(r.attr.Files, func(f vspawn.File) bool { return f.Child == child })
	r.closed = slices.DeleteFunc(r.closed, func(fd int) bool { return fd == child })
	return child, nil
}

func setClose(r *request, value string) error {
	first, last, err := parseRange(value, 31)
	if err != nil {
		return err
	}
	fds := vspawn.Range{First: first, Last: last}
	if strings.HasSuffix(value, "-") {
		fds = vspawn.Range{First: first, NoEnd: true}
	}
	r.attr.CloseRanges = append(r.attr.CloseRanges, fds)
	return nil
}

// parseRange takes N, N-M, and N- which gives N twice.
func parseRange(s string, bits int) (first, last int, err error) {
	from, to, _ := strings.Cut(s, "-")
	if to == "" {
		to = from
	}
	var n [2]int
	for i, part := range []string{from, to} {
		v, err := strconv.ParseUint(part, 10, bits)
		if err != nil {
			return 0, 0, fmt.Errorf("%q: %w", part, cause(err))
		}
		n[i] = int(v)
	}
	if n[1] < n[0] {
		return 0, 0, fmt.Errorf("%q ends before it begins", s)
	}
	return n[0], n[1], nil
}

func setCgroup(r *request, value string) error {
	f, err := r.open(value, unix.O_PATH|unix.O_DIRECTORY)
	r.attr.Cgroup = f
	return err
}

// open opens a file until the child has started.
func (r *request) open(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, err
	}
	r.opened = append(r.opened, f)
	return f, nil
}

func (r *request) close() {
	for _, f := range r.opened {
		f.Close()
	}
}
