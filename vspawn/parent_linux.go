package vspawn

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// addParentLives has the child end if its parent is dead. Behind a
// PR_SET_PDEATHSIG that leaves no gap: who dies later sends the signal.
//
// In a new PID namespace the parent has no number. There the child looks at its
// pidfd; without one (before Linux 5.3, or where a sandbox refuses it) at
// nothing. So it does if it is the thread that has a new one for its children.
func addParentLives(c *compiler, field string) {
	if c.attr.Cloneflags&unix.CLONE_NEWPID == 0 {
		c.plan.asksParent = true
		c.op(op{kind: opParent, field: field, name: "getppid", nr: unix.SYS_GETPPID, flags: asm.Expect, want: dec(os.Getpid())})
		return
	}
	c.plan.looks = true
	c.op(lookAtParent(field))
}

func lookAtParent(field string) op {
	return op{field: field, name: "ppoll", nr: unix.SYS_PPOLL, object: "the parent's pidfd", flags: asm.Expect,
		args: []arg{{kind: argWord, val: wordParent, show: "{parent, POLLIN}"}, dec(1),
			{kind: argWord, val: wordNoTime, show: "{0, 0}"}, name("NULL", 0), dec(sigsetSize)}}
}

// bornApart tells whether this thread's children are born in another PID namespace
// than its own: it has called unshare, or setns (pid_namespaces(7)). The file does
// not say which before the first of them is there.
func bornApart() bool {
	own, err := os.Readlink("/proc/thread-self/ns/pid")
	if err != nil {
		return false
	}
	children, err := os.Readlink("/proc/thread-self/ns/pid_for_children")
	return err == nil && children != own || errors.Is(err, os.ErrNotExist) && releaseAtLeast(4, 12)
}

// links are descriptors that a child uses on its way, and the plan does not
// know. -1 is none, which is what ppoll passes over.
type links struct {
	sync   int // its end of the id map socket
	peer   int // our end of it
	parent int // our pidfd
}

var noLinks = links{-1, -1, -1}

// top is above all that the child needs.
func (l links) top() int { return max(l.sync, l.peer, l.parent) + 1 }

// openParent opens the pidfd, at a number to which no step of the plan's gives
// something else. Where there are no pidfds the child has to do without.
func (l *links) openParent(p *Plan, looks bool, low *lowCopies) error {
	if !looks {
		return nil
	}
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err == unix.EMFILE || err == unix.ENFILE || err == unix.ENOMEM {
		return &Error{Step: "pidfd_open", Object: "this process", Err: err}
	}
	if err != nil {
		return nil
	}
	above := p.top + p.spares
	if low != nil && low.spares != nil { // the parent holds numbers for them
		above = 3
	}
	if fd >= above && !slices.Contains(p.numbers, fd) {
		l.parent = fd
		return nil
	}
	defer unix.Close(fd)
	if fd, err = p.dupUnnamed(fd, above); err != nil {
		return &Error{Step: "fcntl", Object: "F_DUPFD_CLOEXEC", Err: err}
	}
	l.parent = fd
	return nil
}

func (l *links) close() {
	if l.sync >= 0 {
		unix.Close(l.sync)
	}
	if l.parent >= 0 {
		unix.Close(l.parent)
	}
}
