package exec

import (
	"errors"
	"fmt"
	osexec "os/exec"
	"sync"
)

// A standard is os/exec's Cmd, which does all of ours where there are no stubs:
// each method asks asm.Supported first, a constant, so that a program has only
// one of the two.
type standard struct {
	cmd     *osexec.Cmd
	publish sync.Once // of its Process
}

func standardOf(s *osexec.Cmd) *Cmd {
	return &Cmd{Path: s.Path, Args: s.Args, Err: s.Err, Cancel: s.Cancel, std: &standard{cmd: s}}
}

// prepared is the standard's Cmd with our fields.
func (c *Cmd) prepared() *osexec.Cmd {
	if c.std == nil {
		c.std = &standard{cmd: &osexec.Cmd{}}
	}
	s := c.std.cmd
	s.Path, s.Args, s.Env, s.Dir = c.Path, c.Args, c.Env, c.Dir
	s.Stdin, s.Stdout, s.Stderr, s.ExtraFiles = c.Stdin, c.Stdout, c.Stderr, c.ExtraFiles
	s.SysProcAttr, s.Err, s.WaitDelay = c.SysProcAttr, c.Err, c.WaitDelay
	s.Cancel = nil
	if cancel := c.Cancel; cancel != nil {
		s.Cancel = func() error {
			c.published() // cancel may use it, and Start may not be back yet
			return cancel()
		}
	}
	return s
}

func (c *Cmd) published() {
	if s := c.std; s.cmd.Process != nil {
		s.publish.Do(func() { c.Process = s.cmd.Process })
	}
}

// do has the standard's Cmd do something, unless there is an Attr.
func (c *Cmd) do(f func(*osexec.Cmd) error) error {
	if c.Attr != nil {
		return fmt.Errorf("exec: Cmd.Attr: vspawn doesn't know this system: %w", errors.ErrUnsupported)
	}
	s := c.prepared()
	err := f(s)
	c.published()
	c.Stdin, c.Stdout, c.Stderr = s.Stdin, s.Stdout, s.Stderr
	c.ProcessState, c.Err = s.ProcessState, s.Err
	return err
}

// doFor is do for what gives something.
func doFor[T any](c *Cmd, f func(*osexec.Cmd) (T, error)) (v T, err error) {
	err = c.do(func(s *osexec.Cmd) error { v, err = f(s); return err })
	return v, err
}

func (c *Cmd) waitStandard() error {
	if c.std == nil || c.std.cmd.Process == nil {
		return c.do((*osexec.Cmd).Wait)
	}
	s := c.std.cmd
	err := s.Wait() // its fields are in use
	c.ProcessState = s.ProcessState
	return err
}
