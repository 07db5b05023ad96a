//go:build linux && (amd64 || arm64 || riscv64)

package exec

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"

	"github.com/vspawn/vspawn/vspawn"
)

// Start starts the command, and returns when it has become the program, or has failed
// to. Wait must be called when it has succeeded. An error is what Err says, or an
// *os.PathError with the errno; with an Attr see there.
func (c *Cmd) Start() error {
	if atomic.SwapInt32(&c.started, 1) != 0 {
		return errors.New("exec: already started")
	}
	err := c.start()
	closeAll(&c.childEnds)
	for _, fd := range c.nulls[:c.nullCount] {
		syscall.Close(fd)
	}
	c.nullCount = 0
	if err != nil {
		closeAll(&c.parentEnds)
		c.copies = nil
		return err
	}
	if c.copying = len(c.copies); c.copying > 0 {
		c.copied = make(chan error, c.copying)
	}
	for _, f := range c.copies {
		go func() { c.copied <- f() }()
	}
	c.copies = nil
	if (c.Cancel != nil || c.WaitDelay != 0) && c.ctx != nil && c.ctx.Done() != nil {
		c.exited = make(chan struct{})
		c.verdict = make(chan verdict, 1)
		go c.watch()
	}
	return nil
}

func (c *Cmd) start() error {
	switch {
	case c.Err != nil:
		return c.Err
	case c.Path == "" && (c.Attr == nil || c.Attr.ExecFD == nil):
		c.Err = errors.New("exec: no command")
		return c.Err
	case c.Cancel != nil && c.ctx == nil:
		return errors.New("exec: command with a non-nil Cancel was not created with CommandContext")
	}
	ctx := c.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	files, err := c.files()
	if err != nil {
		return err
	}
	env, err := c.environ()
	if err != nil {
		return err
	}
	plan, err := c.plan(files, env)
	if err != nil {
		return c.startError(ctx, err)
	}
	child, err := plan.Start(ctx)
	runtime.KeepAlive(c) // and with it the files, which the plan has by number
	if err != nil {
		return c.startError(ctx, err)
	}
	if c.SysProcAttr != nil && c.SysProcAttr.PidFD != nil {
		if *c.SysProcAttr.PidFD, err = child.Pidfd(); err != nil {
			*c.SysProcAttr.PidFD = -1
		}
	}
	// It is our own child, and no one has reaped it: this can't miss.
	c.Process, _ = os.FindProcess(child.Pid())
	if c.SysProcAttr != nil && c.SysProcAttr.Ptrace || c.Attr != nil && c.Attr.Ptrace {
		// Its stops are to be waited for as well, of which only the kernel's
		// own wait tells.
		return child.Close()
	}
	// For those who never call Wait, but Process.Wait or Process.Release.
	runtime.SetFinalizer(child, (*vspawn.Process).Close)
	c.child = child
	return nil
}

func closeAll(files *[]*os.File) {
	for _, f := range *files {
		f.Close()
	}
	*files = nil
}
