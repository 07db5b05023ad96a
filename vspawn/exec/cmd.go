package exec

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vspawn/vspawn/asm"
	"github.com/vspawn/vspawn/vspawn"
)

// Cmd is a command that is being prepared, or has been run. It is for one use. Its
// fields are those of [os/exec.Cmd], and Attr.
type Cmd struct {
	// Path is the program, for execve as it is: Command searches PATH, Start does not.
	// A relative one is relative to Dir.
	Path string

	// Args are the arguments, the program's own name first; nil stands for Path alone.
	Args []string

	// Env is the environment, as "key=value". nil takes the parent's, with PWD for Dir;
	// an empty list gives an empty one. Of duplicates the last one counts.
	Env []string

	// Dir is the working directory; "" is the parent's.
	Dir string

	// Stdin, Stdout and Stderr are the child's descriptors 0, 1 and 2. nil is
	// /dev/null, and an *os.File that file itself. For anything else there is a pipe,
	// and a goroutine that copies, for whose end Wait waits. If Stdout and Stderr
	// are the same they share one, so that no two goroutines write to it at a time.
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	// ExtraFiles are the child's descriptors from 3 on; nil is a closed one.
	ExtraFiles []*os.File

	// SysProcAttr is what package syscall has for a child on this system. Each field
	// becomes one of Attr.
	SysProcAttr *syscall.SysProcAttr

	// Process is the child, once started.
	Process *os.Process

	// ProcessState is how the child ended, once Wait has returned.
	ProcessState *os.ProcessState

	// Err is LookPath's error, which Start then returns; nil it, as for ErrDot, to
	// start Path all the same.
	Err error

	// Cancel is called when the context of CommandContext ends before the command,
	// and kills it unless something else is set. A command that exits with status 0
	// nevertheless has failed with the context's error, or Cancel's own, unless that
	// is os.ErrProcessDone: it came too late.
	Cancel func() error

	// WaitDelay is how long after the context's end the command has until it is killed,
	// or after its own end its output, before Wait closes the pipes and
	// gives ErrWaitDelay. 0 waits for ever.
	WaitDelay time.Duration

	// Attr is what os/exec has not. Start completes a copy of it: the fields
	// above have their say over Env, Dir and descriptors 0 to 2 and those of
	// ExtraFiles, to which Files adds others. What is set in SysProcAttr can't
	// be set here as well; nor can Env and Dir, for which Cmd has its own. DieWithParent
	// is refused, since [os.Process] can't wait for a child that the kernel reaps: it is
	// Pdeathsig with SIGKILL that a command is given.
	//
	// To set it at all, if only to &vspawn.Attr{}, changes two things. The command
	// inherits no other descriptors, unless InheritFiles says so; without an Attr it
	// gets all that are not close-on-exec, as under os/exec. And the Err of the
	// *os.PathError that Start returns is a [*vspawn.Error], which names
	// the step that failed, or a [*vspawn.AttrError], in place of the errno alone.
	//
	// On systems and architectures that vspawn has nothing for it must be nil, or
	// Start fails.
	Attr *vspawn.Attr

	std *standard // all that there is, if there are no stubs

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
	if !asm.Supported {
		return standardOf(osexec.Command(name, arg...))
	}
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
	if !asm.Supported {
		return standardOf(osexec.CommandContext(ctx, name, arg...))
	}
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
	if !asm.Supported {
		return c.prepared().String()
	}
	if c.Err != nil {
		return strings.Join(c.Args, " ")
	}
	return strings.Join(slices.Concat([]string{c.Path}, c.Args[min(1, len(c.Args)):]), " ")
}

// Environ is the environment that the command would get now.
func (c *Cmd) Environ() []string {
	if !asm.Supported {
		return c.prepared().Environ()
	}
	env, _ := c.environ()
	if env == nil {
		env = os.Environ()
	}
	return env
}

// Run starts the command and waits for it.
func (c *Cmd) Run() error {
	if !asm.Supported {
		return c.do((*osexec.Cmd).Run)
	}
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and gives what it wrote to its standard output. An
// ExitError has the beginning and the end of its standard error, if that was
// not set.
func (c *Cmd) Output() ([]byte, error) {
	if !asm.Supported {
		return doFor(c, (*osexec.Cmd).Output)
	}
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
	if !asm.Supported {
		return doFor(c, (*osexec.Cmd).CombinedOutput)
	}
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
