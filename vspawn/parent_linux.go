package vspawn

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// addParentLives has the child end if its parent is dead. Behind a
// PR_SET_PDEATHSIG that leaves no gap: who dies later sends the signal.
//
// In a new PID namespace the parent has no number. There the child asks it: a
// parent that answers lives. So it does if its parent is a thread that has a new
// PID namespace for its children.
func addParentLives(c *compiler, field string) {
	if c.attr.Cloneflags&unix.CLONE_NEWPID != 0 {
		c.askParent(field)
		return
	}
	c.plan.mayAsk = true
	c.asksFor(field)
	c.op(op{kind: opParent, field: field, call: sysGetppid, flags: asm.Expect, want: dec(int32(os.Getpid())),
		explain: explainNoParent})
}

// askParent has the child ask its parent, and wait for the answer.
func (c *compiler) askParent(field string) {
	c.plan.asks = true
	c.asksFor(field)
	for _, o := range question(field) {
		c.op(o)
	}
}

// question are the child's calls: a byte to the parent, and one back. The wait ends
// with the parent: its pidfd says so, and where there is none (before Linux 5.3, or
// where a sandbox refuses it) the socket, if no other child holds the parent's end of
// it. To look at the pidfd alone would not do: the kernel gives the children of a
// dying process away first (kernel/exit.c, exit_notify).
func question(field string) []op {
	word, sock, null := arg{kind: argWord, val: wordSync}, arg{kind: argSync}, name("NULL", 0)
	return []op{
		{field: field, call: sysWrite, args: []arg{sock, word, dec(1)}},
		{field: field, call: sysPpoll, object: "the parent's answer, and its pidfd",
			args: []arg{{kind: argWord, val: wordPolls, show: "[{sync, POLLIN}, {parent, POLLIN}]"}, dec(2), null, null, dec(sigsetSize)}},
		{field: field, call: sysRead, args: []arg{sock, word, dec(1)}, flags: asm.Expect, want: dec(1)},
	}
}

// closePeer closes the child's copy of the parent's end of the socket, so that its end
// is seen, if the child asks. That is early: a step of Files may give something else
// its number.
func (c *compiler) closePeer() {
	c.op(op{kind: opClosePeer, call: sysClose, args: []arg{{kind: argPeer}}, object: "the parent's end of the socket"})
}

// asksFor notes for what the child asks, or may.
func (c *compiler) asksFor(field string) {
	if c.plan.asksFor != "" {
		return
	}
	c.plan.asksFor = field
	for i := range c.plan.ops {
		if o := &c.plan.ops[i]; o.kind == opClosePeer {
			o.field = field
		}
	}
}

// explainNoParent says what another's number in the parent's place means.
func explainNoParent(e *Error) {
	if e.Err == errUnexpected {
		e.Err, e.Hint = unix.ESRCH, "the parent died before it was set"
	}
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
	sync   int // its end of the socket by which it asks its parent
	peer   int // our end of it
	parent int // our pidfd
}

var noLinks = links{-1, -1, -1}

// top is above all that the child needs.
func (l links) top() int { return max(l.sync, l.peer, l.parent) + 1 }

// openParent opens the pidfd. Where there are none the child has to do without.
func (l *links) openParent(p *Plan, low *lowCopies) error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err == unix.EMFILE || err == unix.ENFILE || err == unix.ENOMEM {
		return &Error{Step: "pidfd_open", Object: "this process", Err: err}
	}
	if err == nil {
		l.parent, err = p.keepClear(fd, low)
		return err
	}
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
