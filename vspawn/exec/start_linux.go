package exec

import (
	"context"
	"errors"
	"os"
	"runtime"
	"syscall"

	"github.com/vspawn/vspawn/vspawn"
)

func (c *Cmd) start() error {
	defer c.closeNulls()
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

// reap waits for the command to end.
func (c *Cmd) reap() (*os.ProcessState, error) {
	waits := c.child != nil && held(c.Process)
	if waits {
		// If it fails, for want of memory, Process.Wait takes a thread, but waits.
		c.child.WaitExit(context.Background())
	}
	state, err := c.Process.Wait()
	if waits && err == syscall.EINVAL { // it was released meanwhile, which ends no wait
		if p, findErr := os.FindProcess(c.child.Pid()); findErr == nil {
			state, err = p.Wait()
		}
	}
	if c.child != nil {
		runtime.SetFinalizer(c.child, nil)
		c.child.Close()
		c.child = nil
	}
	return state, err
}

// held tells whether the caller has not released the process. Its Pid says so as
// well, but is no one's to read while another goroutine may.
func held(p *os.Process) bool {
	h, ok := any(p).(interface{ WithHandle(func(uintptr)) error }) // Go 1.26
	return ok && h.WithHandle(func(uintptr) {}) == nil || p.Pid > 0
}
