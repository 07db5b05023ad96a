package vspawn

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// reserved are low descriptors, for copies of what a child is given.
var reserved struct {
	sync.Mutex
	nothing int // what they hold while they are free
	free    []int
	pipes   uint64 // the device that pipes without a name are on
}

// reservedFrom keeps clear of the numbers that children are given most.
const reservedFrom = 10

// Reserve makes starts cheaper in a program with many descriptors, such as a server
// with thousands of connections; others need it not. It sets n low descriptors aside,
// best at the start of the program, for Start to put copies of what Files names into.
//
// A child copies the parent's descriptor table up to the highest that it needs: with
// pipes that have high numbers that is most of it; with copies at low numbers it is
// next to nothing. It also keeps the child from holding, on its way to exec, any
// descriptor that is not its own. The numbers are held until the program ends.
//
// A start takes as many as Files has different sources, of numbers that Attr does
// not name, and does without if there are not enough left. Reserve may be called
// again for more. Only pipes, sockets and devices of memory such as /dev/null are
// copied: to close the copy of a file would take the locks off it that the parent
// has by fcntl(2), F_SETLK.
func Reserve(n int) error {
	reserved.Lock()
	defer reserved.Unlock()
	if reserved.nothing == 0 {
		fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return &Error{Step: "open", Object: "/", Err: err}
		}
		reserved.nothing = fd
		reserved.pipes = pipeDevice()
	}
	for range n {
		fd, err := unix.FcntlInt(uintptr(reserved.nothing), unix.F_DUPFD_CLOEXEC, reservedFrom)
		if err != nil {
			return &Error{Step: "fcntl", Object: "F_DUPFD_CLOEXEC", Err: err}
		}
		reserved.free = append(reserved.free, fd)
	}
	slices.Sort(reserved.free)
	return nil
}

// lowCopies are copies of a plan's descriptors at reserved numbers, or numbers
// that the parent holds for the plan's spares. nil is none.
type lowCopies struct {
	from  []int // the plan's sources, each once
	to    []int
	above int // all that the child uses

	spares []int
}

// lowCopies makes the copies, if that is of use. The plan's order of copies stays
// right, since none of the child's own copies goes to a number that these have.
func (p *Plan) lowCopies(f *FeatureSet) *lowCopies {
	if p.top == p.lowTop || p.spares > 0 || !p.shares(f) || !anyReserved() {
		return nil
	}
	l := &lowCopies{above: p.lowTop}
	for _, fd := range p.sources {
		switch {
		case slices.Contains(l.from, fd):
		case withoutLocks(fd):
			l.from = append(l.from, fd)
		default:
			l.above = max(l.above, fd+1)
		}
	}
	if !l.take(p) {
		return nil
	}
	for i, fd := range l.from {
		if unix.Dup3(fd, l.to[i], unix.O_CLOEXEC) != nil { // closed: the child's error will say so
			l.giveBack()
			return nil
		}
	}
	return l
}

// giveBack empties the numbers that the copies had, and frees them.
func (l *lowCopies) giveBack() {
	if l == nil {
		return
	}
	for _, fd := range l.spares {
		unix.Close(fd)
	}
	for _, fd := range l.to {
		unix.Dup3(reserved.nothing, fd, unix.O_CLOEXEC)
	}
	if l.to == nil {
		return
	}
	reserved.Lock()
	reserved.free = append(reserved.free, l.to...)
	slices.Sort(reserved.free)
	reserved.Unlock()
}

// at is where the copy of fd is.
func (l *lowCopies) at(fd int) int {
	if l != nil {
		if i := slices.Index(l.from, fd); i >= 0 {
			return l.to[i]
		}
	}
	return fd
}

// top is above every descriptor that the child uses.
func (l *lowCopies) top(p *Plan) int {
	switch {
	case l == nil:
		return p.top
	case l.to != nil:
		return l.above
	}
	return max(p.top, slices.Max(l.spares)+1)
}

// anyReserved tells whether Reserve was called.
func anyReserved() bool {
	reserved.Lock()
	defer reserved.Unlock()
	return len(reserved.free) > 0
}

// take takes a reserved number for each source, if that makes the child's part of
// the table smaller. A number that the plan names is none for a copy: the child
// may copy another descriptor to it before it reads this one.
func (l *lowCopies) take(p *Plan) bool {
	reserved.Lock()
	defer reserved.Unlock()
	var rest []int
	for _, fd := range reserved.free {
		if len(l.to) < len(l.from) && !slices.Contains(p.numbers, fd) {
			l.to = append(l.to, fd)
			l.above = max(l.above, fd+1)
		} else {
			rest = append(rest, fd)
		}
	}
	if len(l.to) == 0 || len(l.to) < len(l.from) || l.above >= p.top {
		return false
	}
	reserved.free = rest
	return true
}

// withoutLocks tells whether a descriptor's file is one on which nobody has locks
// by fcntl: the parent's would go with its copy.
func withoutLocks(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return true
	case unix.S_IFIFO: // one with a name may serve as a lock
		return uint64(st.Dev) == reserved.pipes
	case unix.S_IFCHR:
		const memory = 1 // Documentation/admin-guide/devices.txt
		return unix.Major(uint64(st.Rdev)) == memory
	}
	return false
}

// pipeDevice is the device of pipes without a name, or one that nothing is on.
func pipeDevice() uint64 {
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC) != nil {
		return ^uint64(0)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	var st unix.Stat_t
	if unix.Fstat(fds[0], &st) != nil {
		return ^uint64(0)
	}
	return uint64(st.Dev)
}
