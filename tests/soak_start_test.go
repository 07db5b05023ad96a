//go:build linux

package tests

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// soakStatuses are the exit statuses of the programs that end by themselves.
var soakStatuses = []byte{0, 7, 255}

// soakSignals are those that end a program which is not deaf.
var soakSignals = []syscall.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR2, unix.SIGALRM, 40}

// A soakStart is one start and its child.
type soakStart struct {
	s     *soaker
	names []string // of its attributes
	attr  vspawn.Attr
	files []*os.File // for its length
	setUp error      // why it can't have what it is to be given
	byFD  bool       // the program is a descriptor
	deaf  bool

	path    string
	missing bool // there is no such program
	sleeps  bool // it ends by a signal alone
	status  int  // or with that one
	isGo    bool

	ctx       context.Context
	cancelled bool         // ctx ends at any moment
	sent      atomic.Int32 // the last signal that we have sent, which it may end by
	way       string
}

// newStart chooses a start.
func (s *soaker) newStart(attrs []*soakAttr) *soakStart {
	c := &soakStart{s: s, ctx: noContext}
	for _, a := range attrs {
		c.names = append(c.names, a.name)
		c.deaf = c.deaf || a.deaf
		a.set(c, &c.attr)
	}
	switch n := rand.IntN(10); {
	case n == 0 && !c.byFD:
		c.path, c.missing = "/no/such/program", true
	case n < 4:
		c.path, c.sleeps = s.sleep, true
	default:
		i := rand.IntN(len(soakStatuses))
		c.path, c.status = s.exits[i], int(soakStatuses[i])
	}
	if c.byFD {
		c.attr.ExecFD, c.path = c.open(c.path), ""
	}
	return c
}

// pick takes some attributes that go together, and with a way.
func (s *soaker) pick(way *soakWay) (attrs []*soakAttr) {
	taken := map[string]bool{}
	for _, p := range way.parts {
		taken[p] = true
	}
	for range rand.IntN(6) {
		a := s.attrs[rand.IntN(len(s.attrs))]
		if a.direct && !way.direct || taken[a.name] || slices.ContainsFunc(a.parts, func(p string) bool { return taken[p] }) {
			continue
		}
		attrs = append(attrs, a)
		taken[a.name] = true
		for _, p := range a.parts {
			taken[p] = true
		}
	}
	return attrs
}

func (c *soakStart) String() string {
	return fmt.Sprintf("%s of %q with [%s] by %s", map[bool]string{true: "a cancelled start", false: "a start"}[c.cancelled],
		c.path, strings.Join(c.names, ", "), c.way)
}

func (c *soakStart) fail(format string, args ...any) {
	c.s.fail("%s: %s", c, fmt.Sprintf(format, args...))
}

func (c *soakStart) close() {
	for _, f := range c.files {
		f.Close()
	}
}

// cancelSoon has the context end while the start is under way, or not long after.
func (c *soakStart) cancelSoon() (cancel func()) {
	ctx, end := context.WithCancelCause(noContext)
	c.ctx, c.cancelled = ctx, true
	timer := time.AfterFunc(rand.N(2*time.Duration(c.s.took.Load())+1), func() { end(errEnough) })
	return func() {
		timer.Stop()
		end(nil)
	}
}

// started counts a start, and tells whether there is a child.
func (c *soakStart) started(err error) bool {
	f := &c.s.figures
	f.starts.Add(1)
	var bad *vspawn.AttrError
	switch {
	case err == nil && c.missing && c.s.stormy.Load(): // it was killed before it was to fail
	case err == nil && c.missing:
		c.fail("it was started")
	case err == nil:
	case c.missing && errors.Is(err, unix.ENOENT):
		f.missing.Add(1)
		return false
	case c.cancelled && (errors.Is(err, errEnough) || errors.Is(err, context.Canceled)): // a Cmd gives the latter
		f.cancelled.Add(1)
		return false
	case errors.As(err, &bad):
		c.fail("it was refused: %v", err)
		return false
	case c.s.stormy.Load() && c.attr.StartStopped && errors.Is(err, unix.ESRCH): // so is it told of one that was killed
		f.lost.Add(1)
		return false
	default:
		c.fail("%v", err)
		return false
	}
	f.started.Add(1)
	return true
}

// ended counts an end, and tells whether it is one that the child can have.
func (c *soakStart) ended(status syscall.WaitStatus, err error) {
	f := &c.s.figures
	sent := syscall.Signal(c.sent.Load())
	switch {
	case err != nil:
		c.fail("waiting: %v", err)
	case status.Exited() && c.isGo && c.s.stormy.Load(): // some signals have it print its goroutines, and exit
		f.exited.Add(1)
	case status.Exited():
		f.exited.Add(1)
		if c.sleeps || c.missing || status.ExitStatus() != c.status {
			c.fail("it ended with status %d", status.ExitStatus())
		}
	case status.Signaled():
		f.killed.Add(1)
		if s := status.Signal(); s == sent || c.cancelled && s == unix.SIGKILL {
			return
		}
		if !c.s.stormy.Load() {
			c.fail("it was killed by %v, and %v was sent", status.Signal(), sent)
		}
		f.strange.Add(1)
	default:
		c.fail("its state is %#x", uint32(status))
	}
}

// end is what may end it: for one that sleeps a signal, for others sometimes, too.
func (c *soakStart) end(send func(syscall.Signal) error) {
	if !c.sleeps && rand.IntN(8) > 0 {
		return
	}
	if rand.IntN(2) > 0 {
		time.Sleep(rand.N(time.Duration(c.s.took.Load()) + 1))
	}
	s := soakSignals[rand.IntN(len(soakSignals))]
	if c.deaf {
		s = unix.SIGKILL
	}
	c.sent.Store(int32(s))
	err := send(s)
	if err == nil || errors.Is(err, os.ErrProcessDone) || errors.Is(err, unix.ESRCH) {
		return
	}
	c.fail("sending %v: %v", s, err)
}

// atDepth runs f on a stack that has just grown, and may shrink under it.
func atDepth(depth int, f func()) byte {
	var frame [512]byte
	if depth == 0 {
		f()
	} else {
		frame[depth%len(frame)] = atDepth(depth-1, f)
	}
	return frame[(depth+1)%len(frame)]
}

// run makes one start, on a goroutine and a stack of its own, and sees it to its end.
func (s *soaker) run() {
	begin := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		atDepth(rand.IntN(100), func() {
			if rand.IntN(300) == 0 {
				s.once(&leavingWay, nil)
				return
			}
			way := &soakWays[rand.IntN(len(soakWays))]
			s.once(way, s.pick(way))
		})
	}()
	<-done
	// An average that forgets.
	s.took.Add((int64(min(time.Since(begin), time.Second)) - s.took.Load()) / 16)
}

// once makes a start in a way.
func (s *soaker) once(way *soakWay, attrs []*soakAttr) {
	c := s.newStart(attrs)
	defer c.close()
	c.way = way.name
	if c.setUp != nil {
		c.fail("%v", c.setUp)
		return
	}
	if c.attr.Ptrace { // whose tracer is the thread
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	if !way.whole && rand.IntN(5) == 0 {
		defer c.cancelSoon()()
	}
	way.run(c)
}

// exitStatus is the status in a Cmd's error.
func exitStatus(state *os.ProcessState, err error) (syscall.WaitStatus, error) {
	var exit *exec.ExitError
	if state == nil || err != nil && !errors.As(err, &exit) && !errors.Is(err, context.Canceled) {
		return 0, cmp.Or(err, errors.New("there is no state"))
	}
	return state.Sys().(syscall.WaitStatus), nil
}
