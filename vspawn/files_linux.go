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
	if c.attr.Files == nil {
		c.closeRest([]int{0, 1, 2})
		return nil
	}
	source := map[int]int{} // by target
	var targets []int
	for i, f := range c.attr.Files {
		field, parent := index("Files", i), f.Parent
		if f.File != nil {
			if parent = int(f.File.Fd()); parent < 0 {
				return refuse(field, "the file is closed")
			}
		}
		if f.Child < 0 || f.Child >= maxDescriptor {
			return refuse(field, "child's descriptor %d is out of range", f.Child)
		}
		if _, twice := source[f.Child]; twice {
			return refuse(field, "child's descriptor %d is named twice", f.Child)
		}
		if err := c.descriptor(field, parent); err != nil {
			return err
		}
		source[f.Child] = parent
		targets = append(targets, f.Child)
		c.top = max(c.top, f.Child+1)
		c.plan.files = append(c.plan.files, f.File)
	}
	slices.Sort(targets)
	for _, m := range orderCopies(targets, source, c.top) {
		c.copyFile(m)
		c.top = max(c.top, m.to+1)
	}
	c.closeRest(targets)
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
func orderCopies(targets []int, source map[int]int, spare int) []fileCopy {
	var order []fileCopy
	readers := map[int]int{} // waiting copies that read a descriptor
	waiting := map[int]bool{}
	for _, t := range targets {
		if s := source[t]; s == t {
			order = append(order, fileCopy{from: t, to: t})
		} else {
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
		order = append(order, fileCopy{from: t, to: spare, spare: true})
		moved[t], readers[t] = spare, 0
		spare++
		emit(t)
	}
	return order
}

func (c *compiler) copyFile(m fileCopy) {
	switch {
	case m.from == m.to: // dup3 refuses it, and it may be close-on-exec
		c.op(op{field: "Files", name: "fcntl", nr: unix.SYS_FCNTL, args: []arg{dec(m.to), name("F_SETFD", unix.F_SETFD), dec(0)}})
	case m.spare:
		c.op(op{field: "Files", name: "dup3", nr: unix.SYS_DUP3, args: []arg{dec(m.from), dec(m.to), name("O_CLOEXEC", unix.O_CLOEXEC)}})
	default:
		c.op(op{field: "Files", name: "dup3", nr: unix.SYS_DUP3, args: []arg{dec(m.from), dec(m.to), dec(0)}})
	}
}

const lastDescriptor = 1<<32 - 1

// closeRest closes all but the targets, which are sorted.
func (c *compiler) closeRest(targets []int) {
	first := 0
	for _, t := range targets {
		if t > first {
			c.closeRange(first, uintptr(t-1))
		}
		first = t + 1
	}
	c.closeRange(first, lastDescriptor)
}

func (c *compiler) closeRange(first int, last uintptr) {
	c.op(op{kind: opCloseRange, name: "close_range", nr: unix.SYS_CLOSE_RANGE,
		args: []arg{dec(first), {val: last}, name("CLOSE_RANGE_CLOEXEC", unix.CLOSE_RANGE_CLOEXEC)}, object: "the descriptors that the child is not given"})
}
