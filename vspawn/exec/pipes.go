package exec

import (
	"errors"
	"io"
	"os"
	osexec "os/exec"

	"github.com/vspawn/vspawn/asm"
)

// StdinPipe gives a pipe to the command's standard input. Wait closes it.
func (c *Cmd) StdinPipe() (io.WriteCloser, error) {
	if !asm.Supported {
		return doFor(c, (*osexec.Cmd).StdinPipe)
	}
	if err := c.pipeable("Stdin", c.Stdin != nil); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.childEnds, c.parentEnds = append(c.childEnds, r), append(c.parentEnds, w)
	c.Stdin = r
	return w, nil
}

// StdoutPipe gives a pipe from the command's standard output. Wait closes it,
// so what is to be read must be read before.
func (c *Cmd) StdoutPipe() (io.ReadCloser, error) {
	if !asm.Supported {
		return doFor(c, (*osexec.Cmd).StdoutPipe)
	}
	if err := c.pipeable("Stdout", c.Stdout != nil); err != nil {
		return nil, err
	}
	r, w, err := c.outputPipe()
	if err != nil {
		return nil, err
	}
	c.Stdout = w
	return r, nil
}

// StderrPipe is StdoutPipe for the command's standard error.
func (c *Cmd) StderrPipe() (io.ReadCloser, error) {
	if !asm.Supported {
		return doFor(c, (*osexec.Cmd).StderrPipe)
	}
	if err := c.pipeable("Stderr", c.Stderr != nil); err != nil {
		return nil, err
	}
	r, w, err := c.outputPipe()
	if err != nil {
		return nil, err
	}
	c.Stderr = w
	return r, nil
}

func (c *Cmd) pipeable(name string, set bool) error {
	switch {
	case set:
		return errors.New("exec: " + name + " already set")
	case c.Process != nil:
		return errors.New("exec: " + name + "Pipe after process started")
	}
	return nil
}
