package exec

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vspawn/vspawn/asm"
)

// Wait waits for the command to end, and for all of its input and output to be
// copied. A command that did not succeed gives an [*ExitError], unlike with
// [vspawn.Process.Wait].
func (c *Cmd) Wait() error {
	if !asm.Supported {
		return c.waitStandard()
	}
	switch {
	case c.Process == nil:
		return errors.New("exec: not started")
	case c.ProcessState != nil:
		return errors.New("exec: Wait was already called")
	}
	state, err := c.reap()
	c.ProcessState = state
	if err == nil && !state.Success() {
		err = &ExitError{ProcessState: state}
	}
	var v verdict
	if c.verdict != nil {
		close(c.exited)
		v = <-c.verdict
		c.verdict = nil
	}
	copyErr := c.finishCopies(v.timer)
	closeAll(&c.parentEnds)
	switch {
	case err != nil:
		return err
	case v.err != nil:
		return v.err
	}
	return copyErr
}

// A verdict is what came of the context's end.
type verdict struct {
	err   error       // for Wait to return, unless the command itself failed
	timer *time.Timer // of WaitDelay, if it still runs
}

// watch waits for the context to end before the command.
func (c *Cmd) watch() {
	var v verdict
	defer func() { c.verdict <- v }()
	select {
	case <-c.exited:
		return
	case <-c.ctx.Done():
	}
	if c.Cancel != nil {
		switch err := c.Cancel(); {
		case err == nil:
			v.err = c.ctx.Err()
		case !errors.Is(err, os.ErrProcessDone):
			v.err = fmt.Errorf("exec: canceling Cmd: %w", err)
		}
	}
	if c.WaitDelay == 0 {
		return
	}
	timer := time.NewTimer(c.WaitDelay)
	select {
	case <-c.exited:
		v.timer = timer
		return
	case <-timer.C:
	}
	killErr := c.Process.Kill()
	if killErr != nil && !errors.Is(killErr, os.ErrProcessDone) {
		v.err = fmt.Errorf("exec: killing Cmd: %w", killErr)
	}
	now := make(chan time.Time)
	close(now)
	// What ends because of the kill is no failure to copy.
	if err := c.collect(now); v.err == nil && (killErr != nil || err == ErrWaitDelay) {
		v.err = err
	}
}
