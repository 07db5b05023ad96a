package vspawn

import (
	"cmp"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// An answerer answers what a child asks on its way: the first time its id maps are
// written, if it is to have any; and any answer says that its parent lives. The thread
// that made the child waits for it in turn, so this is a goroutine's work.
type answerer struct {
	plan *Plan
	sock *os.File // our end
	done chan error
	over atomic.Bool // the child waits no more
	hold hold        // of the dumpable flag
}

// newAnswerer opens what the child asks by. Neither end of the socket blocks: ours is
// the poller's, and the child waits by ppoll.
func newAnswerer(p *Plan, l *links, low *lowCopies) (*answerer, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, &Error{Step: "socketpair", Field: p.asksFor, Err: err}
	}
	if err := p.asideBoth(&pair); err != nil {
		return nil, err
	}
	if l.sync, err = p.keepClear(pair[1], low); err == nil {
		err = l.openParent(p, low)
	}
	if err != nil {
		unix.Close(pair[0])
		return nil, err
	}
	l.peer = pair[0]
	return &answerer{plan: p, sock: os.NewFile(uintptr(pair[0]), "socket of a child"), done: make(chan error, 1)}, nil
}

// run answers until finish. If it can't, the child reads an end instead.
func (a *answerer) run(in *instance) {
	a.done <- func() error {
		asked := false
		defer func() { a.hangUp(asked) }()
		var b [1]byte
		for first := true; ; first = false {
			if err := a.read(b[:]); err != nil {
				return a.failed("read", err)
			}
			asked = true
			if first && a.plan.maps != nil {
				if err := a.writeMaps(in); errors.Is(err, unix.ESRCH) {
					return nil // it has died, of which its own end says more
				} else if err != nil {
					return err
				}
			}
			if err := a.answer(b[:]); err != nil {
				return a.failed("write", err)
			}
		}
	}()
}

// read waits for a question. The poller tells of each once: where a sandbox answers the
// read that follows with EAGAIN, it would wait for ever for the next.
func (a *answerer) read(b []byte) error {
	for {
		a.sock.SetReadDeadline(time.Now().Add(time.Second)) // an error of it is the read's, too
		_, err := a.sock.Read(b)
		switch {
		case errors.Is(err, unix.EAGAIN):
			time.Sleep(time.Millisecond) // a sandbox keeps the socket from the poller
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
	}
}

// failed is why the child got no answer: nil if it has died, of which its own error says
// more, or if finish was called.
func (a *answerer) failed(step string, err error) error {
	if a.over.Load() {
		return nil // our end may have been closed between the question and its answer
	}
	for _, over := range []error{io.EOF, unix.EPIPE, unix.ECONNRESET} {
		if errors.Is(err, over) {
			return nil
		}
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	return &Error{Step: step, Field: a.plan.asksFor, Object: "the socket of a child's questions", Err: err}
}

// answer lets the child go on. If it is gone, the program is not to get a SIGPIPE for it,
// as it would by Write if it asked for that signal.
func (a *answerer) answer(b []byte) (err error) {
	c, err := a.sock.SyscallConn()
	if err != nil {
		return err
	}
	over := c.Control(func(fd uintptr) {
		if err = unix.Send(int(fd), b, unix.MSG_NOSIGNAL); err != nil && err != unix.EPIPE {
			_, err = unix.Write(int(fd), b) // a sandbox may know nothing of sockets
		}
	})
	return cmp.Or(over, err)
}

// finish ends run, also if no child ever asked.
func (a *answerer) finish() error {
	a.over.Store(true)
	a.sock.Close()
	return <-a.done
}

// hangUp ends the child's wait. To close our end is not as good: another child on its way
// may have a copy of it, and this one closes its own by number, which must be there until
// it has asked. finish closes ours in any case.
func (a *answerer) hangUp(asked bool) {
	err := error(unix.EBADF)
	if c, e := a.sock.SyscallConn(); e == nil {
		c.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
	if err != nil && asked { // a sandbox may know nothing of sockets
		a.sock.Close()
	}
}
