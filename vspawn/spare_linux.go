package vspawn

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Spares are numbers at which the child keeps a descriptor for a while: one that
// another takes the number of, or one that it opens itself. In a plan they are
// the numbers from top on. A child that begins with the part of the parent's table
// below top alone takes them as they are, for nothing is there. Any other child
// may have something there that is to be inherited, or that one of its Syscalls
// means; so the parent finds numbers that are free, and has them hold something
// harmless while the child gets its copy of the table, so that nobody takes them.

// borrow takes from the parent's table, for one start, what the plan needs of it.
func (p *Plan) borrow(f *FeatureSet) (*lowCopies, error) {
	switch {
	case p.spares == 0:
		return p.lowCopies(f), nil
	case p.shares(f) && p.sparesBelowLimit():
		return nil, nil
	}
	return p.holdSpares()
}

// sparesBelowLimit tells whether a child may have descriptors with the plan's own
// numbers.
func (p *Plan) sparesBelowLimit() bool {
	limit, err := currentNofile()
	return err == nil && uint64(p.top+p.spares) <= limit.Cur
}

// holdSpares finds numbers for the spares.
func (p *Plan) holdSpares() (*lowCopies, error) {
	fail := func(step, object string, err error) error {
		e := &Error{Step: step, Field: p.spareFor, Object: object, Err: err}
		if err == unix.EMFILE {
			e.Hint = "the child keeps " + itoa(p.spares) + " descriptors for a while, for which RLIMIT_NOFILE leaves no number free"
		}
		return e
	}
	nothing, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fail("open", "/", err)
	}
	defer unix.Close(nothing)
	l := &lowCopies{}
	for range p.spares {
		// Low numbers are what a Syscall's open expects to get.
		fd, err := p.dupUnnamed(nothing, p.top)
		if err == unix.EINVAL || err == unix.EMFILE {
			fd, err = p.dupUnnamed(nothing, 3)
		}
		if err != nil {
			l.giveBack()
			return nil, fail("fcntl", "F_DUPFD_CLOEXEC", err)
		}
		l.spares = append(l.spares, fd)
	}
	return l, nil
}

// dupUnnamed copies a descriptor to a free number, from min on, that the plan
// does not name: not even as a source, which may have been closed by now.
func (p *Plan) dupUnnamed(fd, min int) (int, error) {
	for {
		n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, min)
		if err != nil || !slices.Contains(p.numbers, n) {
			return n, err
		}
		unix.Close(n)
		min = n + 1
	}
}

// aside moves a descriptor that a start has made for itself away from a number
// that the plan names. It is closed if that fails.
func (p *Plan) aside(fd int) (int, error) {
	if !slices.Contains(p.numbers, fd) {
		return fd, nil
	}
	defer unix.Close(fd)
	moved, err := p.dupUnnamed(fd, 3)
	if err != nil {
		return -1, &Error{Step: "fcntl", Object: "F_DUPFD_CLOEXEC", Err: err}
	}
	return moved, nil
}

// asideBoth does so with both ends of a pipe or a pair, or closes them.
func (p *Plan) asideBoth(pair *[2]int) (err error) {
	if pair[0], err = p.aside(pair[0]); err != nil {
		unix.Close(pair[1])
		return err
	}
	if pair[1], err = p.aside(pair[1]); err != nil {
		unix.Close(pair[0])
	}
	return err
}

// keepClear moves a descriptor of the start's own to a number to which no step of the
// plan's gives something else, so that the child has it to its end. It is closed if
// that fails. low tells where the spare numbers are.
func (p *Plan) keepClear(fd int, low *lowCopies) (int, error) {
	above := p.top + p.spares
	if low != nil && low.spares != nil { // the parent holds them
		above = 3
	}
	if fd >= above && !slices.Contains(p.numbers, fd) {
		return fd, nil
	}
	defer unix.Close(fd)
	moved, err := p.dupUnnamed(fd, above)
	if err == unix.EINVAL || err == unix.EMFILE { // below them it is as good
		moved, err = p.dupUnnamed(fd, 3)
	}
	if err == nil && moved >= p.top && moved < above {
		unix.Close(moved)
		err = unix.EMFILE
	}
	if err != nil {
		return -1, &Error{Step: "fcntl", Object: "F_DUPFD_CLOEXEC", Err: err}
	}
	return moved, nil
}

// closedSince is why there is no child where its own pidfd has got the number of a
// descriptor of the parent's that the plan names: the child took the one for the other.
func closedSince(fd int) error {
	return &Error{Step: "clone", Object: "descriptor " + itoa(fd), Err: unix.EBADF, Hint: "it was closed after Compile"}
}

// spare is where the plan's spare n is in truth.
func (l *lowCopies) spare(p *Plan, n int) int {
	if l == nil || l.spares == nil {
		return n
	}
	return l.spares[n-p.top]
}

// A pathRule is a struct landlock_path_beneath_attr, but for the descriptor.
type pathRule struct {
	allow uint64
	path  string
}

func (r pathRule) String() string { return r.path }

// bytes is the rule for a descriptor.
func (r pathRule) bytes(fd int) []byte {
	return native.AppendUint32(native.AppendUint64(nil, r.allow), uint32(fd))
}
