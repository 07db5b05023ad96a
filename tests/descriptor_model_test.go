//go:build linux

package tests

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// This is what Attr's comments say of descriptors, once more in a few lines, which know
// nothing of how the library does it. TestDescriptors holds children against it.

// A table is what a process has open, by its numbers.
type table map[int]open

// An open is a file of the parent's, by the number that it had there, or one that the
// child opens itself.
type open struct {
	fd      int
	file    vspawn.File // if it has a Path
	cloexec bool
}

func (o open) String() string { return fmt.Sprint(o.cloexec) }

// A wrong is why there is no child: a field that Compile refuses, or one whose system
// call fails.
type wrong struct {
	refused bool
	fields  []string // of a refusal, any of them
	errno   unix.Errno
}

func (w *wrong) String() string {
	if w.refused {
		return fmt.Sprintf("a refusal of one of %q", w.fields)
	}
	return fmt.Sprintf("%s fails with %v", w.fields[0], w.errno)
}

func fails(field string, errno error) *wrong {
	return &wrong{fields: []string{field}, errno: errno.(unix.Errno)}
}

// A holder is a parent: what the child's descriptors depend on, beside Attr.
type holder struct {
	table table
	limit int          // RLIMIT_NOFILE
	dirs  map[int]bool // those of its descriptors that are directories
}

// child is the table of the child's program, and the parent's number of DirFD.
func (p *holder) child(a *vspawn.Attr) (child table, dir int, w *wrong) {
	if f := p.refused(a); f != nil {
		return nil, 0, &wrong{refused: true, fields: f}
	}
	t := maps.Clone(p.table)
	entering := slices.Index(earlyCalls, "Setns") + 1
	if w := p.calls(t, a, earlyCalls[:entering]...); w != nil {
		return nil, 0, w
	}
	if a.Setns != nil && a.UIDMap != nil { // who has a new user namespace has no rights over others' (setns(2))
		return nil, 0, fails("Setns[0]", unix.EPERM)
	}
	if w := p.calls(t, a, earlyCalls[entering:]...); w != nil {
		return nil, 0, w
	}
	dir = -1
	if a.DirFD != nil {
		dir = t[number(a.DirFD)].fd
	}
	child = table{}
	for fd, o := range t {
		if a.InheritFiles && !o.cloexec && !slices.ContainsFunc(a.CloseRanges, func(r vspawn.Range) bool {
			return fd >= r.First && (r.NoEnd || fd <= r.Last)
		}) || a.Files == nil && !a.InheritFiles && fd < 3 && !o.cloexec {
			child[fd] = open{fd: o.fd}
		}
	}
	for _, f := range a.Files {
		from := -1
		if f.Path == "" {
			from = number(f.Parent)
		}
		switch o, ok := t[from]; {
		case f.Path != "":
			delete(child, f.Child) // whatever it has there, the path comes later
		case !ok, f.Child != from && f.Child >= p.limit:
			return nil, 0, fails("Files", unix.EBADF)
		default:
			child[f.Child] = open{fd: o.fd}
		}
	}
	if dir >= 0 && !p.dirs[dir] {
		return nil, 0, fails("DirFD", unix.ENOTDIR)
	}
	for i, f := range a.Files {
		if f.Path != "" && f.Child >= p.limit {
			return nil, 0, fails(fmt.Sprintf("Files[%d]", i), unix.EBADF)
		} else if f.Path != "" {
			child[f.Child] = open{file: f}
		}
	}
	if w := p.calls(child, a, lateCalls); w != nil {
		return nil, 0, w
	}
	maps.DeleteFunc(child, func(_ int, o open) bool { return o.cloexec })
	return child, dir, nil
}

// earlyCalls are places of Syscalls before Files, in their order, and lateCalls is one
// after all Files.
var earlyCalls = []string{"Cgroup", "DefaultSignals", "TTY", "Setns", "Umask", "Files"}

const lateCalls = "NoNewPrivs"

// calls makes a's Syscalls with those places on a table.
func (p *holder) calls(t table, a *vspawn.Attr, places ...string) *wrong {
	for _, place := range places {
		for i, s := range a.Syscalls {
			if s.Before != place {
				continue
			}
			if err := p.call(t, s); err != nil && !s.Tolerate {
				return fails(fmt.Sprintf("Syscalls[%d]", i), err)
			}
		}
	}
	return nil
}

// call is one system call.
func (p *holder) call(t table, s vspawn.Syscall) error {
	x, y := int(s.Args[0]), int(s.Args[1])
	o, ok := t[x]
	switch {
	case s.Nr == unix.SYS_DUP3 && x == y:
		return unix.EINVAL
	case !ok, s.Nr == unix.SYS_DUP3 && y >= p.limit:
		return unix.EBADF
	case s.Nr == unix.SYS_DUP3:
		o.cloexec = s.Args[2]&unix.O_CLOEXEC != 0
		t[y] = o
	case s.Nr == unix.SYS_FCNTL:
		o.cloexec = s.Args[2]&unix.FD_CLOEXEC != 0
		t[x] = o
	case s.Nr == unix.SYS_CLOSE:
		delete(t, x)
	}
	return nil
}

// refused are the fields that make no sense.
func (p *holder) refused(a *vspawn.Attr) (fields []string) {
	seen := map[int]bool{}
	for i, f := range a.Files {
		_, open := p.table[number(f.Parent)]
		if f.Child < 0 || seen[f.Child] || (f.Parent == nil) == (f.Path == "") || f.Parent != nil && !open {
			fields = append(fields, fmt.Sprintf("Files[%d]", i))
		}
		seen[f.Child] = true
	}
	for i, r := range a.CloseRanges {
		if !a.InheritFiles || r.First < 0 || !r.NoEnd && r.Last < r.First || r.NoEnd && r.Last != 0 {
			fields = append(fields, fmt.Sprintf("CloseRanges[%d]", i))
		}
	}
	if a.DirFD != nil && a.Dir != "" {
		fields = append(fields, "DirFD")
	}
	if a.ControllingTTY && !a.Setsid {
		fields = append(fields, "ControllingTTY")
	}
	return fields
}

// number is that of a descriptor, or -1.
func number(d vspawn.Descriptor) int {
	fd := -1
	if d == nil {
		return fd
	}
	if conn, err := d.SyscallConn(); err == nil {
		conn.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}
