package exec

import (
	"fmt"
	"os"
	"time"
)

func (c *Cmd) outputPipe() (r, child *os.File, err error) {
	r, child, err = os.Pipe()
	if err == nil {
		c.childEnds, c.parentEnds = append(c.childEnds, child), append(c.parentEnds, r)
	}
	return r, child, err
}

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
