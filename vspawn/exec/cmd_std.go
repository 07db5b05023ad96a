//go:build !(linux && (amd64 || arm64 || riscv64))

package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/vspawn/vspawn/vspawn"
)

// Cmd is [osexec.Cmd] here, where vspawn has nothing to offer, with the same meaning
// of its fields.
type Cmd struct {
	Path        string
	Args        []string
	Env         []string
	Dir         string
	Stdin       io.Reader
	Stdout      io.Writer
	Stderr      io.Writer
	ExtraFiles  []*os.File
	SysProcAttr *syscall.SysProcAttr

	Process      *os.Process
	ProcessState *os.ProcessState

	Err       error
	Cancel    func() error
	WaitDelay time.Duration

	// Attr must be nil here, or Start fails.
	Attr *vspawn.Attr

	std     *osexec.Cmd
	publish sync.Once // of std's Process
}

// Command is [osexec.Command].
func Command(name string, arg ...string) *Cmd { return wrap(osexec.Command(name, arg...)) }

// CommandContext is [osexec.CommandContext].
func CommandContext(ctx context.Context, name string, arg ...string) *Cmd {
	return wrap(osexec.CommandContext(ctx, name, arg...))
}

func wrap(std *osexec.Cmd) *Cmd {
	return &Cmd{Path: std.Path, Args: std.Args, Err: std.Err, Cancel: std.Cancel, std: std}
}

// prepared is the standard's Cmd with our fields.
func (c *Cmd) prepared() *osexec.Cmd {
	if c.std == nil {
		c.std = &osexec.Cmd{}
	}
	s := c.std
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
	if c.std.Process != nil {
		c.publish.Do(func() { c.Process = c.std.Process })
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

// Start is [osexec.Cmd.Start].
func (c *Cmd) Start() error { return c.do((*osexec.Cmd).Start) }

// Run is [osexec.Cmd.Run].
func (c *Cmd) Run() error { return c.do((*osexec.Cmd).Run) }

// Wait is [osexec.Cmd.Wait].
func (c *Cmd) Wait() error {
	if c.std == nil || c.std.Process == nil {
		return c.do((*osexec.Cmd).Wait)
	}
	err := c.std.Wait() // its fields are in use
	c.ProcessState = c.std.ProcessState
	return err
}

// Output is [osexec.Cmd.Output].
func (c *Cmd) Output() (out []byte, err error) {
	err = c.do(func(s *osexec.Cmd) error { out, err = s.Output(); return err })
	return out, err
}

// CombinedOutput is [osexec.Cmd.CombinedOutput].
func (c *Cmd) CombinedOutput() (out []byte, err error) {
	err = c.do(func(s *osexec.Cmd) error { out, err = s.CombinedOutput(); return err })
	return out, err
}

// StdinPipe is [osexec.Cmd.StdinPipe].
func (c *Cmd) StdinPipe() (w io.WriteCloser, err error) {
	err = c.do(func(s *osexec.Cmd) error { w, err = s.StdinPipe(); return err })
	return w, err
}

// StdoutPipe is [osexec.Cmd.StdoutPipe].
func (c *Cmd) StdoutPipe() (r io.ReadCloser, err error) {
	err = c.do(func(s *osexec.Cmd) error { r, err = s.StdoutPipe(); return err })
	return r, err
}

// StderrPipe is [osexec.Cmd.StderrPipe].
func (c *Cmd) StderrPipe() (r io.ReadCloser, err error) {
	err = c.do(func(s *osexec.Cmd) error { r, err = s.StderrPipe(); return err })
	return r, err
}

// Environ is [osexec.Cmd.Environ].
func (c *Cmd) Environ() []string { return c.prepared().Environ() }

// String is [osexec.Cmd.String].
func (c *Cmd) String() string { return c.prepared().String() }
