//go:build linux && (amd64 || arm64 || riscv64)

package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vspawn/vspawn/vspawn"
)

// Cmd is a command that is being prepared, or has been run. It is for one use.
type Cmd struct {
	Path        string
	Args        []string // nil stands for Path alone
	Env         []string // nil takes the parent's; of duplicates the last one counts
	Dir         string
	Stdin       io.Reader
	Stdout      io.Writer
	Stderr      io.Writer
	ExtraFiles  []*os.File // the child's descriptors from 3 on; nil is a closed one
	SysProcAttr *syscall.SysProcAttr

	Process      *os.Process
	ProcessState *os.ProcessState

	Err       error // of LookPath, if any
	Cancel    func() error
	WaitDelay time.Duration

	// Attr is what os/exec has not. Start completes a copy of it: the fields
	// above have their say over Env, Dir and descriptors 0 to 2 and those of
	// ExtraFiles, to which Files adds others. What is set in SysProcAttr can't
	// be set here as well.
	//
	// A command with an Attr inherits no other descriptors, unless
	// InheritFiles says so; without one it gets all that are not
	// close-on-exec, as under os/exec. And its errors are [*vspawn.Error],
	// which name the step that failed, in place of the errno alone.
	Attr *vspawn.Attr

	ctx     context.Context
	started int32           // 1 once Start was called
	child   *vspawn.Process // what tells of its end; nil if that's for Process alone to say

	fds        [3]int     // what the child gets as 0, 1 and 2
	childEnds  []*os.File // of pipes, closed when Start is done
	nulls      [2]int     // descriptors of /dev/null, closed then as well
	nullCount  int
	parentEnds []*os.File // closed when Wait is done
	copies     []func() error
	copied     chan error // one for each of copies
	copying    int        // how many are still to come

	exited  chan struct{} // closed when the command was reaped
	verdict chan verdict  // from watch, if it runs
}

// Command prepares a command. A name without a slash is searched by LookPath.
func Command(name string, arg ...string) *Cmd {
	c := &Cmd{Path: name, Args: slices.Concat([]string{name}, arg)}
	if filepath.Base(name) == name {
		path, err := LookPath(name)
		if path != "" { // also with ErrDot
			c.Path = path
		}
		c.Err = err
	}
	return c
}

// CommandContext prepares a command that is killed, or what else Cancel does,
// when the context ends before it.
func CommandContext(ctx context.Context, name string, arg ...string) *Cmd {
	if ctx == nil {
		panic("nil Context")
	}
	c := Command(name, arg...)
	c.ctx = ctx
	c.Cancel = func() error { return c.Process.Kill() }
	return c
}

// String is the command for people to read, with no quotes.
func (c *Cmd) String() string {
	if c.Err != nil {
		return strings.Join(c.Args, " ")
	}
	return strings.Join(slices.Concat([]string{c.Path}, c.Args[min(1, len(c.Args)):]), " ")
}

// Environ is the environment that the command would get now.
func (c *Cmd) Environ() []string {
	env, _ := c.environ()
	if env == nil {
		env = os.Environ()
	}
	return env
}

// Run starts the command and waits for it.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and gives what it wrote to its standard output. An
// ExitError has the beginning and the end of its standard error, if that was
// not set.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("exec: Stdout already set")
	}
	var out bytes.Buffer
	c.Stdout = &out
	var said *excerpt
	if c.Stderr == nil {
		said = &excerpt{size: 32 << 10}
		c.Stderr = said
	}
	err := c.Run()
	if exit, ok := err.(*ExitError); ok && said != nil {
		exit.Stderr = said.bytes()
	}
	return out.Bytes(), err
}

// CombinedOutput runs the command and gives what it wrote to its standard
// output and its standard error.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("exec: Stdout already set")
	}
	if c.Stderr != nil {
		return nil, errors.New("exec: Stderr already set")
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// StdinPipe gives a pipe to the command's standard input. Wait closes it.
func (c *Cmd) StdinPipe() (io.WriteCloser, error) {
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

// Start starts the command. Wait must be called when it has succeeded.
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

// Wait waits for the command to end, and for all of its input and output to be
// copied.
func (c *Cmd) Wait() error {
	switch {
	case c.Process == nil:
		return errors.New("exec: not started")
	case c.ProcessState != nil:
		return errors.New("exec: Wait was already called")
	}
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

// held tells whether the caller has not released the process. Its Pid says so as
// well, but is no one's to read while another goroutine may.
func held(p *os.Process) bool {
	h, ok := any(p).(interface{ WithHandle(func(uintptr)) error }) // Go 1.26
	return ok && h.WithHandle(func(uintptr) {}) == nil || p.Pid > 0
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

func closeAll(files *[]*os.File) {
	for _, f := range *files {
		f.Close()
	}
	*files = nil
}
