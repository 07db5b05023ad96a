package exec

import (
	"errors"
	"os"
	osexec "os/exec"
	"sync/atomic"

	"github.com/vspawn/vspawn/asm"
)

// Start starts the command, and returns when it has become the program, or has failed
// to. Wait must be called when it has succeeded. An error is what Err says, or an
// *os.PathError with the errno; with an Attr see there.
func (c *Cmd) Start() error {
	if !asm.Supported {
		return c.do((*osexec.Cmd).Start)
	}
	if atomic.SwapInt32(&c.started, 1) != 0 {
		return errors.New("exec: already started")
	}
	err := c.start()
	closeAll(&c.childEnds)
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

func closeAll(files *[]*os.File) {
	for _, f := range *files {
		f.Close()
	}
	*files = nil
}
