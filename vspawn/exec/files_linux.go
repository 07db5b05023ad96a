package exec

import (
	"errors"
	"io"
	"os"
	"reflect"
	"syscall"
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

func (c *Cmd) closeNulls() {
	for _, fd := range c.nulls[:c.nullCount] {
		syscall.Close(fd)
	}
	c.nullCount = 0
}

// same tells whether two writers are one, also of types that can't be compared.
func same(a, b any) bool { return a != nil && reflect.ValueOf(a).Comparable() && a == b }
