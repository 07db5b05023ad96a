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
}

// Reserve sets n low descriptors aside, best at the start of a program, for
// Start to put copies of what Files names into. A child copies the parent's
// descriptor table up to the highest that it needs: with pipes that have high
// numbers in a program with many connections, that is most of it; with copies
// at low numbers it is next to nothing. It also keeps the child from holding,
// on its way to exec, any descriptor that is not its own.
//
// A start takes as many as Files has different sources, and does without if
// there are not enough left. Reserve may be called again for more.
func Reserve(n int) error {
	reserved.Lock()
	defer reserved.Unlock()
	if reserved.nothing == 0 {
		fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return &Error{Step: "open", Object: "/", Err: err}
		}
		reserved.nothing = fd
	}
	for range n {
		fd, err := unix.FcntlInt(uintptr(reserved.nothing), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return &Error{Step: "fcntl", Object: "F_DUPFD_CLOEXEC", Err: err}
		}
		reserved.free = append(reserved.free, fd)
	}
	slices.Sort(reserved.free)
	return nil
}

// lowCopies are copies of a plan's descriptors at reserved numbers. nil is
// none.
type lowCopies struct {
	from []int // the plan's sources, each once
	to   []int
}

// lowCopies makes the copies, if that is of use.
func (p *Plan) lowCopies(f *FeatureSet) *lowCopies {
	if p.top == p.lowTop || p.spares > 0 || !p.shares(f) {
		return nil
	}
	l := &lowCopies{}
	for _, fd := range p.sources {
		if !slices.Contains(l.from, fd) {
			l.from = append(l.from, fd)
		}
	}
	reserved.Lock()
	n := len(l.from)
	if len(reserved.free) >= n && reserved.free[n-1] < p.top {
		l.to = slices.Clone(reserved.free[:n])
		reserved.free = slices.Delete(reserved.free, 0, n)
	}
	reserved.Unlock()
	if l.to == nil {
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
	for _, fd := range l.to {
		unix.Dup3(reserved.nothing, fd, unix.O_CLOEXEC)
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
	if l == nil {
		return p.top
	}
	return max(p.lowTop, slices.Max(l.to)+1)
}
