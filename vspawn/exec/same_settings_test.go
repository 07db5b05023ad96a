//go:build linux

package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// A setting is a use of a Cmd. What it says is compared.
type setting struct {
	name string
	do   func(t *task, p pack, r *report)
}

// settingsIntents are the differences that are wanted.
var settingsIntents = []intent{
	{"String without Args", "", "a panic is of no use"},
	{"ExtraFiles at the limit", "", "os/exec needs a number above it"},
}

// failing are commands that don't start, or not so.
func failing(name string, prepare func(t *task, c commander)) setting {
	return setting{name, func(t *task, p pack, r *report) {
		c := p.command(t.Exit[0], t.Exit[1:]...)
		prepare(t, c)
		err := c.Start()
		r.say("start", err)
		r.say("process", process(c) != nil, "state", state(c) != nil, "Err", get[error](c, "Err"))
		if err == nil {
			r.ended(c, c.Wait())
		}
		r.say("again", c.Start())
	}}
}

func get[T any](c commander, field string) T {
	v, _ := fieldOf(c, field).(T)
	return v
}

// puppets are commands that say what they were given.
func puppets(name string, prepare func(t *task, c commander)) setting {
	return setting{name, func(t *task, p pack, r *report) {
		tb := &standIn{}
		defer tb.clean()
		puppet := tiny.New(tb)
		c := p.command(t.Puppet[0], t.Puppet[1:]...)
		prepare(t, c)
		files := extra(puppet)
		copy(files, get[[]*os.File](c, "ExtraFiles"))
		set(c, "ExtraFiles", files)
		err := c.Start()
		r.say("start", err)
		if err != nil {
			return
		}
		r.given(puppet)
		for _, name := range []string{"cmdline", "environ"} {
			file := &tiny.Call{Nr: unix.SYS_OPENAT, Args: []any{unix.AT_FDCWD, "/proc/self/" + name, unix.O_RDONLY}}
			text := make([]byte, 16384)
			err := puppet.Do(file)
			if err == nil {
				err = puppet.Do(&tiny.Call{Nr: unix.SYS_READ, Args: []any{file.Result, text, len(text)}})
			}
			r.say(name, fmt.Sprintf("%q", bytes.TrimRight(text, "\x00")), err)
		}
		puppet.Close()
		r.ended(c, c.Wait())
	}}
}

// canceled is a command whose context ends, for sure, when it has ended itself.
func canceled(name string, status int, answer error) setting {
	return setting{name, func(t *task, p pack, r *report) {
		ctx, cancel := context.WithCancel(context.Background())
		program := t.Exit
		if status == 0 {
			program = t.Zero
		}
		c := p.commandContext(ctx, program[0], program[1:]...)
		called := make(chan bool)
		set(c, "Cancel", func() error { close(called); return answer })
		r.say("start", c.Start())
		var info unix.Siginfo
		for unix.Waitid(unix.P_PID, process(c).Pid, &info, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
		cancel()
		<-called
		r.ended(c, c.Wait())
	}}
}

// A broken reader and writer.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

// A slice can't be compared.
type slice []io.Writer

func (s slice) Write(p []byte) (int, error) { return s[0].Write(p) }

// leaver starts a program that it leaves behind, with its own output, and says
// its pid.
var leaver = helper.New("leaver", func(args []string) int {
	c := osexec.Command(args[0], args[1:]...)
	c.Stdout = os.Stdout
	if err := c.Start(); err != nil {
		panic(err)
	}
	fmt.Println(c.Process.Pid)
	return 0
})

func run(name string, do func(t *task, p pack, r *report)) setting { return setting{name, do} }

var errBroken = errors.New("broken")

func closedFile() *os.File {
	f, err := os.Open(os.DevNull)
	if err != nil {
		panic(err)
	}
	f.Close()
	return f
}

// settings are what a Cmd can be asked for.
var settings = slices.Concat(failingSettings, givenSettings, lifeSettings, ioSettings)

func init() {
	suites["settings"] = func() suite {
		var s suite
		for _, c := range settings {
			s.names = append(s.names, c.name)
		}
		s.run = func(t *task, p pack, i int) string {
			var r report
			settings[i].do(t, p, &r)
			return r.String()
		}
		return s
	}
}

// Each setting of a Cmd does, and says, what it does under os/exec.
func TestSame(t *testing.T) {
	compare(t, newTask(t, "settings"), settingsIntents, true)
}

// waitMeanwhile is found by its name.
//
//go:noinline
func waitMeanwhile(c commander, done chan<- error) { done <- c.Wait() }

// waitsMeanwhile tells whether that waits for the child.
func waitsMeanwhile() bool {
	stacks := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if !strings.Contains(stack, "waitMeanwhile") {
			continue
		}
		for _, name := range []string{"WaitExit", "unix.Waitid", "blockUntilWaitable"} {
			if strings.Contains(stack, name) {
				return true
			}
		}
	}
	return false
}
