//go:build linux && (amd64 || arm64 || riscv64)

package exec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"syscall"
	"time"
)

// closed is a descriptor that the child does not get.
const closed = -1

// files are the parent's descriptors that become the child's 0, 1, 2, ….
func (c *Cmd) files() (fds []int, err error) {
	fds = c.fds[:]
	if fds[0], err = c.stdin(); err != nil {
		return nil, err
	}
	if fds[1], err = c.output(c.Stdout); err != nil {
		return nil, err
	}
	if c.Stderr == nil && c.Stdout == nil || same(c.Stderr, c.Stdout) {
		fds[2] = fds[1]
	} else if fds[2], err = c.output(c.Stderr); err != nil {
		return nil, err
	}
	for _, f := range c.ExtraFiles {
		fds = append(fds, descriptor(f))
	}
	return fds, nil
}

// descriptor is closed for a file that is, or that is nil.
func descriptor(f *os.File) int { return max(int(f.Fd()), closed) }

func (c *Cmd) stdin() (int, error) {
	if c.Stdin == nil {
		return c.null(os.O_RDONLY)
	}
	if f, ok := c.Stdin.(*os.File); ok {
		return descriptor(f), nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return closed, err
	}
	c.childEnds, c.parentEnds = append(c.childEnds, r), append(c.parentEnds, w)
	c.copies = append(c.copies, func() error {
		_, err := io.Copy(w, c.Stdin)
		// A command need not read all of its input.
		var p *os.PathError
		if errors.As(err, &p) && p.Op == "write" && p.Path == w.Name() && p.Err == syscall.EPIPE {
			err = nil
		}
		if closeErr := w.Close(); err == nil {
			err = closeErr
		}
		return err
	})
	return descriptor(r), nil
}

// output is the child's end of what goes to w.
func (c *Cmd) output(w io.Writer) (int, error) {
	if w == nil {
		return c.null(os.O_WRONLY)
	}
	if f, ok := w.(*os.File); ok {
		return descriptor(f), nil
	}
	r, child, err := c.outputPipe()
	if err != nil {
		return closed, err
	}
	c.copies = append(c.copies, func() error {
		_, err := io.Copy(w, r)
		r.Close() // so that the command learns of it when w fails
		return err
	})
	return descriptor(child), nil
}

func (c *Cmd) outputPipe() (r, child *os.File, err error) {
	r, child, err = os.Pipe()
	if err == nil {
		c.childEnds, c.parentEnds = append(c.childEnds, child), append(c.parentEnds, r)
	}
	return r, child, err
}

// null opens /dev/null. An os.File would take ten system calls.
func (c *Cmd) null(mode int) (int, error) {
	fd, err := syscall.Open(os.DevNull, mode|syscall.O_CLOEXEC, 0)
	if err != nil {
		return closed, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	c.nulls[c.nullCount] = fd
	c.nullCount++
	return fd, nil
}

// same tells whether two writers are one, also of types that can't be compared.
func same(a, b any) bool { return a != nil && reflect.ValueOf(a).Comparable() && a == b }

// finishCopies waits for the copies to end, for WaitDelay at most. timer is
// its, if it has begun.
func (c *Cmd) finishCopies(timer *time.Timer) error {
	if timer == nil && c.copying > 0 && c.WaitDelay != 0 {
		timer = time.NewTimer(c.WaitDelay)
	}
	if timer == nil {
		return c.collect(nil)
	}
	defer timer.Stop()
	return c.collect(timer.C)
}

// collect waits for the copies to end, and gives the first error of one. When
// over fires it closes the pipes, to end them.
func (c *Cmd) collect(over <-chan time.Time) (err error) {
	note := func(e error) {
		c.copying--
		if err == nil {
			err = e
		}
	}
	for c.copying > 0 {
		select { // those that have ended count, however late it is
		case e := <-c.copied:
			note(e)
			continue
		default:
		}
		select {
		case e := <-c.copied:
			note(e)
		case <-over:
			closeAll(&c.parentEnds)
			for c.copying > 0 {
				note(<-c.copied)
			}
			return ErrWaitDelay
		}
	}
	return err
}

// An excerpt keeps the first and the last size bytes of what is written to it.
type excerpt struct {
	size       int
	head, tail []byte
	dropped    int
}

func (e *excerpt) Write(p []byte) (int, error) {
	n := min(len(p), e.size-len(e.head))
	e.head = append(e.head, p[:n]...)
	e.tail = append(e.tail, p[n:]...)
	if len(e.tail) > 2*e.size { // so that each byte is moved but once
		e.trim()
	}
	return len(p), nil
}

func (e *excerpt) trim() {
	if over := len(e.tail) - e.size; over > 0 {
		e.dropped += over
		e.tail = append(e.tail[:0], e.tail[over:]...)
	}
}

func (e *excerpt) bytes() []byte {
	e.trim()
	if e.dropped == 0 {
		return append(e.head, e.tail...)
	}
	return fmt.Appendf(e.head, "\n... omitting %d bytes ...\n%s", e.dropped, e.tail)
}
