package vspawn

import (
	"slices"

	"golang.org/x/sys/unix"
)

// maxDescriptor is where the kernel's own limit of the table's size begins to
// matter (fs.nr_open can't be raised above it on small machines); no limit
// that a process has reaches further by default.
const maxDescriptor = 1 << 20

// addFiles plans the child's descriptor table: the copies in an order in which
// no source is overwritten while it is still needed, then the rest closed.
func addFiles(c *compiler) error {
	a := c.attr
	if err := checkRanges(a); err != nil {
		return err
	}
	targets := []int{0, 1, 2}
	if a.Files != nil {
		source, err := c.sources()
		if err != nil {
			return err
		}
		targets = targets[:0]
		for _, f := range a.Files {
			targets = append(targets, f.Child)
		}
		slices.Sort(targets)
		c.moveAside(targets, source)
		spare := func() int { return c.spare("Files") }
		for _, m := range orderCopies(targets, source, spare) {
			c.copyFile(m)
		}
	}
	if !a.InheritFiles {
		c.closeBetween("", targets, 0, lastDescriptor)
		return nil
	}
	if a.Files == nil {
		targets = nil // what nil passes on is inherited like the others
	}
	for _, r := range a.CloseRanges {
		c.closeBetween("CloseRanges", targets, r.First, r.last())
	}
	return nil
}

// sources checks Files, and gives the parent's descriptor for each of the child's that
// is a copy.
func (c *compiler) sources() (source map[int]int, err error) {
	source = map[int]int{}
	seen := map[int]bool{}
	for i, f := range c.attr.Files {
		field := index("Files", i)
		switch {
		case f.Child < 0 || f.Child >= maxDescriptor:
			return nil, refuse(field, "child's descriptor %d is out of range", f.Child)
		case seen[f.Child]:
			return nil, refuse(field, "child's descriptor %d is named twice", f.Child)
		case f.Parent == nil && f.Path == "":
			return nil, refuse(field, "it has no source: neither Parent nor Path (the parent's 0 is vspawn.FD(0))")
		}
		seen[f.Child] = true
		if f.Path != "" {
			continue
		}
		fd := c.opened(field, sysDup3, f.Parent)
		source[f.Child] = fd
		if fd != f.Child {
			c.plan.sources = append(c.plan.sources, fd)
		}
	}
	return source, c.err
}

// checkRanges checks CloseRanges.
func checkRanges(a *Attr) error {
	for i, r := range a.CloseRanges {
		switch field := index("CloseRanges", i); {
		case !a.InheritFiles:
			return refuse(field, "set without InheritFiles: all but Files is closed")
		case r.NoEnd && r.Last != 0:
			return refuse(field, "Last %d contradicts NoEnd", r.Last)
		case r.NoEnd && (r.First < 0 || uint64(r.First) > lastDescriptor):
			return refuse(field, "%d is not a descriptor", r.First)
		case !r.NoEnd && (r.First < 0 || r.Last < r.First || uint64(r.Last) > lastDescriptor):
			return refuse(field, "%d to %d is not a range; one without an end has NoEnd", r.First, r.Last)
		}
	}
	return nil
}

// last is the last descriptor of a range.
func (r Range) last() uint64 {
	if r.NoEnd {
		return lastDescriptor
	}
	return uint64(r.Last)
}

// moveAside saves the descriptors that are used later from being overwritten.
func (c *compiler) moveAside(targets []int, source map[int]int) {
	c.moved = map[int]int{}
	for _, later := range []struct {
		field string
		call  call
		d     Descriptor
	}{{"DirFD", sysFchdir, c.attr.DirFD}, {"ExecFD", sysExecveat, c.attr.ExecFD}} {
		if later.d == nil {
			continue
		}
		fd := c.fd(later.field, later.call, later.d)
		if c.moved[fd] != 0 || !slices.Contains(targets, fd) {
			continue
		}
		if s, copied := source[fd]; copied && s == fd {
			continue
		}
		c.moved[fd] = c.spare("Files")
		c.copyFile(fileCopy{from: fd, to: c.moved[fd], spare: true})
	}
}

// addOpens has the child open what Files names by path.
func addOpens(c *compiler) error {
	for i, f := range c.attr.Files {
		if f.Path == "" {
			continue
		}
		field := index("Files", i)
		switch {
		case f.Parent != nil:
			return refuse(field, "Path contradicts Parent")
		case f.Mode&^0o7777 != 0:
			return refuse(field, "mode %#o has bits beyond 07777", f.Mode)
		}
		fd := c.keep(c.open(field, c.str(field, f.Path), c.flags(field, f.Flags, openFlags(f.Flags)), f.Mode))
		c.op(op{field: field, call: sysDup3, args: []arg{numbered(fd), numbered(f.Child), dec(0)}})
	}
	return nil
}

// A fileCopy copies one descriptor to another's number.
type fileCopy struct {
	from, to int
	spare    bool // not for the child's program
}

// orderCopies puts the copies in order. A copy is safe once no other waits to
// read its target. When all that remain wait for each other, they are cycles,
// and one is broken by moving what a target holds to a spare number.
func orderCopies(targets []int, source map[int]int, spare func() int) []fileCopy {
	var order []fileCopy
	readers := map[int]int{} // waiting copies that read a descriptor
	waiting := map[int]bool{}
	for _, t := range targets {
		if s, ok := source[t]; ok && s == t {
			order = append(order, fileCopy{from: t, to: t})
		} else if ok {
			waiting[t] = true
			readers[s]++
		}
	}
	moved := map[int]int{} // where a source is now
	at := func(fd int) int {
		if m, ok := moved[fd]; ok {
			return m
		}
		return fd
	}
	emit := func(t int) {
		for waiting[t] && readers[t] == 0 { // and then what waited for that
			s := source[t]
			order = append(order, fileCopy{from: at(s), to: t})
			delete(waiting, t)
			readers[s]--
			t = s
		}
	}
	for _, t := range targets {
		emit(t)
	}
	for _, t := range targets {
		if !waiting[t] {
			continue
		}
		moved[t], readers[t] = spare(), 0
		order = append(order, fileCopy{from: t, to: moved[t], spare: true})
		emit(t)
	}
	return order
}

func (c *compiler) copyFile(m fileCopy) {
	switch {
	case m.from == m.to: // dup3 refuses it, and it may be close-on-exec
		c.op(op{field: "Files", call: sysFcntl, args: []arg{numbered(m.to), name("F_SETFD", unix.F_SETFD), dec(0)}})
	case m.spare:
		c.op(op{field: "Files", call: sysDup3, args: []arg{numbered(m.from), numbered(m.to), name("O_CLOEXEC", unix.O_CLOEXEC)}})
	default:
		from := numbered(m.from)
		if from.kind == argConst {
			from.kind = argSource
		}
		c.op(op{field: "Files", call: sysDup3, args: []arg{from, numbered(m.to), dec(0)}})
	}
}

const lastDescriptor = 1<<32 - 1

// closeBetween closes a range but for the targets, which are sorted.
func (c *compiler) closeBetween(field string, targets []int, first int, last uint64) {
	for _, t := range targets {
		if t < first || uint64(t) > last {
			continue
		}
		if t > first {
			c.closeRange(field, first, uint64(t-1))
		}
		first = t + 1
	}
	if uint64(first) <= last {
		c.closeRange(field, first, last)
	}
}

func (c *compiler) closeRange(field string, first int, last uint64) {
	c.op(op{kind: opCloseRange, field: field, call: sysCloseRange,
		args: []arg{numbered(first), {val: uintptr(last)}, name("CLOSE_RANGE_CLOEXEC", unix.CLOSE_RANGE_CLOEXEC)}, object: "the descriptors that the child is not given"})
}

// openFlagNames are the flags of open that have a bit of their own.
var openFlagNames = []struct {
	flag int
	name string
}{
	{unix.O_CREAT, "O_CREAT"}, {unix.O_EXCL, "O_EXCL"}, {unix.O_NOCTTY, "O_NOCTTY"}, {unix.O_TRUNC, "O_TRUNC"},
	{unix.O_APPEND, "O_APPEND"}, {unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_DIRECTORY, "O_DIRECTORY"},
	{unix.O_NOFOLLOW, "O_NOFOLLOW"}, {unix.O_PATH, "O_PATH"},
}

func openFlags(flags int) string {
	s := []string{"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"}[flags&unix.O_ACCMODE]
	for _, f := range openFlagNames {
		if flags&f.flag != 0 {
			s += "|" + f.name
		}
	}
	return s + "|O_CLOEXEC"
}

// atFDCWD is AT_FDCWD, which is negative, as an argument.
const atFDCWD = ^uintptr(99)
