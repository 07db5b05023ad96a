//go:build linux && (amd64 || arm64 || riscv64)

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
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/tests/helper"
	"github.com/vspawn/vspawn/tests/tiny"
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

func (b broken) Read([]byte) (int, error)  { return 0, b.err }
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
var settings = []setting{
	failing("plain", func(*task, commander) {}),
	failing("no command", func(_ *task, c commander) { set(c, "Path", "") }),
	failing("Path missing", func(_ *task, c commander) { set(c, "Path", "/not/here") }),
	failing("Path relative", func(_ *task, c commander) { set(c, "Path", "not/here") }),
	failing("Path empty file", func(t *task, c commander) { set(c, "Path", t.under("empty")) }),
	failing("Path not executable", func(t *task, c commander) { set(c, "Path", t.under("file")) }),
	failing("Path directory", func(t *task, c commander) { set(c, "Path", t.Dir) }),
	failing("Path below file", func(t *task, c commander) { set(c, "Path", t.under("file/x")) }),
	failing("Path long", func(_ *task, c commander) { set(c, "Path", "/"+strings.Repeat("x", 300)) }),
	failing("Path too long", func(_ *task, c commander) { set(c, "Path", strings.Repeat("/x", 3000)) }),
	failing("Path of a loop", func(t *task, c commander) {
		os.Symlink("loop", t.under("loop"))
		set(c, "Path", t.under("loop"))
	}),
	failing("Path NUL", func(_ *task, c commander) { set(c, "Path", "\x00") }),
	failing("script without its interpreter", func(t *task, c commander) { set(c, "Path", t.under("script")) }),
	failing("program written to", func(t *task, c commander) {
		if _, err := os.OpenFile(t.under("root"+t.Puppet[len(t.Puppet)-1]), os.O_WRONLY, 0); err != nil {
			panic(err) // stays open
		}
		set(c, "Path", t.under("root"+t.Puppet[len(t.Puppet)-1]))
	}),
	failing("Args too long", func(_ *task, c commander) { set(c, "Args", []string{strings.Repeat("x", 1<<20)}) }),
	failing("Args NUL", func(_ *task, c commander) { set(c, "Args", []string{"a", "b\x00"}) }),
	failing("Env NUL", func(_ *task, c commander) { set(c, "Env", []string{"A=\x00"}) }),
	failing("Env NUL, Path NUL", func(_ *task, c commander) { set(c, "Env", []string{"A=\x00"}); set(c, "Path", "\x00") }),
	failing("Dir missing", func(_ *task, c commander) { set(c, "Dir", "/not/here") }),
	failing("Dir relative", func(_ *task, c commander) { set(c, "Dir", "not/here") }),
	failing("Dir file", func(t *task, c commander) { set(c, "Dir", t.under("file")) }),
	failing("Dir long", func(_ *task, c commander) { set(c, "Dir", strings.Repeat("x", 300)) }),
	failing("Dir NUL", func(_ *task, c commander) { set(c, "Dir", "/\x00") }),
	failing("Dir missing, Path missing", func(_ *task, c commander) { set(c, "Dir", "/not/here"); set(c, "Path", "/nor/here") }),
	failing("Dir missing, Path NUL", func(_ *task, c commander) { set(c, "Dir", "/not/here"); set(c, "Path", "\x00") }),
	failing("Dir missing, Args NUL", func(_ *task, c commander) { set(c, "Dir", "/not/here"); set(c, "Args", []string{"\x00"}) }),
	failing("Dir missing, bad ExtraFiles", func(_ *task, c commander) {
		set(c, "Dir", "/not/here")
		set(c, "ExtraFiles", []*os.File{os.NewFile(9999, "bad")})
	}),
	failing("Dir missing, SysProcAttr", func(_ *task, c commander) {
		set(c, "Dir", "/not/here")
		set(c, "SysProcAttr", &syscall.SysProcAttr{})
	}),
	failing("Dir NUL, SysProcAttr", func(_ *task, c commander) {
		set(c, "Dir", "\x00")
		set(c, "SysProcAttr", &syscall.SysProcAttr{})
	}),
	failing("Setctty and Foreground", func(_ *task, c commander) {
		set(c, "SysProcAttr", &syscall.SysProcAttr{Setctty: true, Foreground: true})
	}),
	failing("Setctty and Foreground, Args NUL", func(_ *task, c commander) {
		set(c, "Args", []string{"\x00"})
		set(c, "SysProcAttr", &syscall.SysProcAttr{Setctty: true, Foreground: true})
	}),
	failing("Setctty not there", func(_ *task, c commander) {
		set(c, "SysProcAttr", &syscall.SysProcAttr{Setctty: true, Ctty: 3, Chroot: "/not/here"})
	}),
	failing("Cancel without a context", func(_ *task, c commander) { set(c, "Cancel", func() error { return nil }) }),
	failing("Err", func(_ *task, c commander) { set(c, "Err", errBroken); set(c, "Path", "") }),
	failing("Stdin bad", func(_ *task, c commander) { set(c, "Stdin", os.NewFile(9999, "bad")) }),
	failing("Stdout bad", func(_ *task, c commander) { set(c, "Stdout", os.NewFile(9999, "bad")) }),
	failing("Stdin bad, Dir", func(_ *task, c commander) { set(c, "Stdin", os.NewFile(9999, "bad")); set(c, "Dir", "/") }),
	failing("ExtraFiles far", func(_ *task, c commander) { set(c, "ExtraFiles", []*os.File{os.NewFile(1<<30, "bad")}) }),
	failing("ExtraFiles wide", func(_ *task, c commander) { set(c, "ExtraFiles", []*os.File{os.NewFile(1<<32|9999, "bad")}) }),

	puppets("nothing", func(*task, commander) {}),
	puppets("Args nil", func(_ *task, c commander) { set(c, "Args", []string(nil)) }),
	puppets("Args empty", func(_ *task, c commander) { set(c, "Args", []string{}) }),
	puppets("Args other", func(_ *task, c commander) { set(c, "Args", []string{"", "b", "ü"}) }),
	puppets("Env empty", func(_ *task, c commander) { set(c, "Env", []string{}) }),
	puppets("Env twice", func(_ *task, c commander) {
		set(c, "Env", []string{"A=1", "B=2", "", "A=3", "x", "x", "=C:=1", "=C:=2"})
	}),
	puppets("Dir", func(_ *task, c commander) { set(c, "Dir", "/dev/..") }),
	puppets("Dir, Env", func(_ *task, c commander) { set(c, "Dir", "/dev"); set(c, "Env", []string{"PWD=/x"}) }),
	puppets("Dir dot", func(_ *task, c commander) { set(c, "Dir", ".") }),
	puppets("Stdin closed", func(_ *task, c commander) { set(c, "Stdin", closedFile()) }),
	puppets("Stdin no file", func(_ *task, c commander) { set(c, "Stdin", (*os.File)(nil)) }),
	puppets("Stdout closed", func(_ *task, c commander) { set(c, "Stdout", closedFile()); set(c, "Stderr", closedFile()) }),
	puppets("ExtraFiles", func(_ *task, c commander) {
		set(c, "ExtraFiles", []*os.File{nil, os.Stdin, closedFile(), os.Stderr, os.Stdin})
	}),
	puppets("ExtraFiles crossed", func(_ *task, c commander) {
		set(c, "Stdin", os.Stderr)
		set(c, "Stderr", os.Stdin)
		set(c, "ExtraFiles", []*os.File{nil, os.Stdout, os.Stdin})
	}),
	puppets("SysProcAttr", func(_ *task, c commander) { set(c, "SysProcAttr", &syscall.SysProcAttr{}) }),

	canceled("Cancel nil", 0, nil),
	canceled("Cancel done", 0, os.ErrProcessDone),
	canceled("Cancel done, wrapped", 0, fmt.Errorf("x: %w", os.ErrProcessDone)),
	canceled("Cancel fails", 0, errBroken),
	canceled("Cancel nil, status", 7, nil),
	canceled("Cancel fails, status", 7, errBroken),

	run("context done", func(t *task, p pack, r *report) {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errBroken)
		c := p.commandContext(ctx, t.Exit[0], t.Exit[1:]...)
		r.say("run", c.Run())
		r.say("process", process(c) != nil)
		past, end := context.WithDeadline(context.Background(), time.Unix(0, 0))
		defer end()
		r.say("deadline", p.commandContext(past, t.Exit[0]).Run())
		r.say("and more", p.commandContext(ctx, "").Run())
		missing := p.commandContext(ctx, "/not/here")
		set(missing, "Dir", "/not/here")
		r.say("and no Dir", missing.Run())
	}),
	run("context ends", func(t *task, p pack, r *report) {
		for _, delay := range []time.Duration{0, time.Hour} {
			ctx, cancel := context.WithCancelCause(context.Background())
			c := p.commandContext(ctx, t.Puppet[0], t.Puppet[1:]...)
			tb := &standIn{}
			set(c, "ExtraFiles", extra(tiny.New(tb)))
			set(c, "WaitDelay", delay)
			r.say("start", c.Start())
			cancel(errBroken)
			r.ended(c, c.Wait())
			tb.clean()
		}
	}),
	run("context ends, WaitDelay alone", func(t *task, p pack, r *report) {
		ctx, cancel := context.WithCancel(context.Background())
		c := p.commandContext(ctx, t.Puppet[0], t.Puppet[1:]...)
		tb := &standIn{}
		defer tb.clean()
		set(c, "ExtraFiles", extra(tiny.New(tb)))
		set(c, "Cancel", (func() error)(nil))
		set(c, "WaitDelay", time.Millisecond)
		r.say("start", c.Start())
		cancel()
		r.ended(c, c.Wait())
	}),
	run("WaitDelay", func(t *task, p pack, r *report) {
		argv := leaver.Argv(t.Sleep...)
		c := p.command(argv[0], argv[1:]...)
		var out bytes.Buffer
		set(c, "Stdout", &out)
		set(c, "WaitDelay", time.Second)
		r.say("start", c.Start())
		r.ended(c, c.Wait())
		var pid int
		fmt.Sscan(out.String(), &pid)
		r.say("left", pid > 1)
		if pid > 1 {
			unix.Kill(pid, unix.SIGKILL)
		}
	}),
	run("context nil", func(_ *task, p pack, r *report) {
		defer func() { r.say("panic", recover()) }()
		p.commandContext(nil, "x")
	}),

	run("found nowhere", func(_ *task, p pack, r *report) {
		c := p.command("there-is-none", "a", "b")
		r.say("said", c.String())
		r.say("run", c.Run())
		_, err := c.StdinPipe()
		r.say("pipe", err)
	}),
	run("found here", func(t *task, p pack, r *report) {
		was := os.Getenv("PATH")
		os.Setenv("PATH", ".")
		os.Chdir(t.under("root"))
		os.WriteFile("here", nil, 0o755)
		c := p.command("here")
		os.Chdir("/")
		os.Setenv("PATH", was)
		r.say("path", get[string](c, "Path"), "run", c.Run())
	}),
	run("String", func(_ *task, p pack, r *report) {
		c := p.command("/x", "a b", "c")
		r.say("String", c.String())
		set(c, "Err", errBroken)
		r.say("String", c.String())
	}),
	run("String without Args", func(_ *task, p pack, r *report) {
		defer func() { r.say("panic", recover() != nil) }()
		c := p.empty()
		set(c, "Path", "/x")
		r.say("String", c.String())
	}),
	run("Environ", func(_ *task, p pack, r *report) {
		c := p.command("/x")
		r.say("Environ", fmt.Sprintf("%q", c.Environ()))
		set(c, "Dir", "sub")
		r.say("Environ", fmt.Sprintf("%q", c.Environ()))
		set(c, "Env", []string{"A=1", "B=\x00", "A=2", "", "x"})
		r.say("Environ", fmt.Sprintf("%q", c.Environ()))
	}),

	run("not started", func(_ *task, p pack, r *report) {
		c := p.empty()
		r.say("wait", c.Wait())
		r.say("start", c.Start())
		r.say("wait", c.Wait())
		_, err := c.Output()
		r.say("output", err)
	}),
	run("twice", func(t *task, p pack, r *report) {
		c := p.command(t.Exit[0], t.Exit[1:]...)
		r.say("run", c.Run())
		r.say("run", c.Run())
		r.say("wait", c.Wait())
		_, err := c.CombinedOutput()
		r.say("output", err)
	}),
	run("again after failure", func(t *task, p pack, r *report) {
		c := p.command("/not/here")
		r.say("run", c.Run())
		set(c, "Path", t.Exit[0])
		r.say("run", c.Run())
	}),
	run("released", func(t *task, p pack, r *report) {
		tb := &standIn{}
		defer tb.clean()
		c := p.command(t.Puppet[0], t.Puppet[1:]...)
		set(c, "ExtraFiles", extra(tiny.New(tb))) // it does not end before the test says so
		r.say("start", c.Start())
		r.say("release", process(c).Release(), process(c).Pid)
		r.say("wait", c.Wait())
		r.say("wait", c.Wait())
		r.say("state", state(c) != nil, "signal", process(c).Signal(syscall.Signal(0)))
	}),
	run("released meanwhile", func(t *task, p pack, r *report) {
		if t.emulated() { // os/exec, which has no pidfd there, waits for any child then
			return
		}
		tb := &standIn{}
		puppet := tiny.New(tb)
		c := p.command(t.Puppet[0], t.Puppet[1:]...)
		set(c, "ExtraFiles", extra(puppet))
		r.say("start", c.Start(), puppet.Do()) // so that it has begun
		pid := process(c).Pid
		done := make(chan error)
		go waitMeanwhile(c, done)
		for !waitsMeanwhile() {
			time.Sleep(time.Millisecond)
		}
		r.say("release", process(c).Release())
		tb.clean()
		r.say("wait", <-done)
		r.say("state", state(c))
		_, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
		r.say("left", err)
	}),
	run("Process.Wait", func(t *task, p pack, r *report) {
		c := p.command(t.Exit[0], t.Exit[1:]...)
		r.say("start", c.Start())
		s, err := process(c).Wait()
		r.say("state", s, err)
		r.say("wait", c.Wait())
		r.say("state", state(c) != nil, "signal", process(c).Signal(syscall.SIGTERM))
	}),
	run("killed", func(t *task, p pack, r *report) {
		tb := &standIn{}
		defer tb.clean()
		c := p.command(t.Puppet[0], t.Puppet[1:]...)
		set(c, "ExtraFiles", extra(tiny.New(tb)))
		r.say("start", c.Start(), process(c).Signal(syscall.SIGTERM))
		r.ended(c, c.Wait())
		r.say("kill", process(c).Kill())
	}),
	run("PidFD", func(t *task, p pack, r *report) {
		if t.emulated() { // no CLONE_PIDFD, and no clone3
			return
		}
		for _, path := range []string{t.Exit[0], "/not/here", "\x00"} {
			for _, sys := range []syscall.SysProcAttr{{}, {Setctty: true, Ctty: 100}, {UseCgroupFD: true, CgroupFD: -1}, {Chroot: "/not/here"}} {
				fd := -7
				sys.PidFD = &fd
				c := p.command(t.Exit[0])
				set(c, "Path", path)
				set(c, "SysProcAttr", &sys)
				r.say("run", c.Run())
				r.pidFD(fd)
			}
		}
	}),

	run("Output", func(_ *task, p pack, r *report) {
		argv := say.Argv("out", strings.Repeat("0123456789", 8000))
		out, err := p.command(argv[0], argv[1:]...).Output()
		r.say("output", string(out), err)
		c := p.command(argv[0], argv[1:]...)
		var stderr bytes.Buffer
		set(c, "Stderr", &stderr)
		out, err = c.Output()
		r.say("output", string(out), err, stderr.Len())
		out, err = p.command(argv[0], argv[1:]...).CombinedOutput()
		r.say("combined", len(out), err)
		c = p.command(argv[0], argv[1:]...)
		out, err = c.Output()
		r.say("fields", fmt.Sprintf("%T %T", fieldOf(c, "Stdout"), fieldOf(c, "Stdin")), len(out), err)
	}),
	run("Output set", func(t *task, p pack, r *report) {
		c := p.command(t.Exit[0], t.Exit[1:]...)
		set(c, "Stdout", io.Discard)
		_, err := c.Output()
		r.say("Output", err)
		_, err = c.CombinedOutput()
		r.say("CombinedOutput", err)
		_, err = c.StdoutPipe()
		r.say("StdoutPipe", err)
	}),
	run("Stderr set", func(t *task, p pack, r *report) {
		c := p.command(t.Exit[0], t.Exit[1:]...)
		set(c, "Stderr", io.Discard)
		_, err := c.CombinedOutput()
		r.say("CombinedOutput", err)
		_, err = c.StderrPipe()
		r.say("StderrPipe", err)
		set(c, "Stdin", broken{io.EOF})
		_, err = c.StdinPipe()
		r.say("StdinPipe", err)
		out, err := c.Output()
		r.say("Output", len(out), err)
	}),
	run("pipes too late", func(t *task, p pack, r *report) {
		c := p.command(t.Exit[0], t.Exit[1:]...)
		r.say("start", c.Start())
		_, err := c.StdinPipe()
		r.say("StdinPipe", err)
		_, err = c.StdoutPipe()
		r.say("StdoutPipe", err)
		_, err = c.StderrPipe()
		r.say("StderrPipe", err)
		r.ended(c, c.Wait())
	}),
	run("pipes", func(_ *task, p pack, r *report) {
		argv := cat.Argv()
		c := p.command(argv[0], argv[1:]...)
		in, err := c.StdinPipe()
		r.say("StdinPipe", err)
		_, err = c.StdinPipe()
		r.say("StdinPipe", err)
		out, err := c.StdoutPipe()
		r.say("StdoutPipe", err)
		r.say("start", c.Start())
		io.WriteString(in, "hello")
		r.say("close", in.Close(), in.Close())
		text, err := io.ReadAll(out)
		r.say("read", string(text), err)
		r.ended(c, c.Wait())
		_, err = out.Read(make([]byte, 1))
		r.say("read", err)
		_, err = in.Write([]byte("x"))
		r.say("write", err)
	}),
	run("pipes of none", func(_ *task, p pack, r *report) {
		c := p.command("/not/here")
		in, _ := c.StdinPipe()
		out, _ := c.StdoutPipe()
		r.say("start", c.Start())
		_, err := in.Write([]byte("x"))
		r.say("write", err)
		_, err = out.Read(make([]byte, 1))
		r.say("read", err)
	}),
	run("copies", func(_ *task, p pack, r *report) {
		argv := cat.Argv()
		for _, stdin := range []io.Reader{strings.NewReader("hello"), broken{errBroken}, strings.NewReader(strings.Repeat("x", 1<<20))} {
			c := p.command(argv[0], argv[1:]...)
			var out bytes.Buffer
			set(c, "Stdin", stdin)
			set(c, "Stdout", &out)
			r.say("start", c.Start())
			r.ended(c, c.Wait())
			r.say("out", out.Len())
		}
	}),
	run("copies not read", func(t *task, p pack, r *report) {
		for _, stdin := range []io.Reader{strings.NewReader(strings.Repeat("x", 1<<20)), broken{errBroken}} {
			c := p.command(t.Exit[0], t.Exit[1:]...)
			set(c, "Stdin", stdin)
			r.say("start", c.Start())
			r.ended(c, c.Wait())
		}
	}),
	run("writers", func(_ *task, p pack, r *report) {
		argv := cat.Argv()
		for _, stdout := range []io.Writer{broken{errBroken}, slice{io.Discard}} {
			c := p.command(argv[0], argv[1:]...)
			set(c, "Stdin", strings.NewReader("hello"))
			set(c, "Stdout", stdout)
			set(c, "Stderr", stdout)
			r.say("start", c.Start())
			r.ended(c, c.Wait())
		}
	}),
	run("no descriptors", func(t *task, p pack, r *report) {
		var was unix.Rlimit
		unix.Getrlimit(unix.RLIMIT_NOFILE, &was)
		low := was
		low.Cur = 3 // 0, 1 and 2 are open
		unix.Setrlimit(unix.RLIMIT_NOFILE, &low)
		defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
		c := p.command(t.Exit[0], t.Exit[1:]...)
		r.say("run", c.Run())
		_, err := p.command(t.Exit[0]).StdinPipe()
		r.say("pipe", err)
		c = p.command(t.Exit[0], t.Exit[1:]...)
		set(c, "Stdin", strings.NewReader(""))
		r.say("run", c.Run())
	}),
	run("ExtraFiles at the limit", func(t *task, p pack, r *report) {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 300)
		if err != nil {
			panic(err)
		}
		last := os.NewFile(uintptr(fd), "last")
		defer last.Close()
		var was unix.Rlimit
		unix.Getrlimit(unix.RLIMIT_NOFILE, &was)
		low := was
		low.Cur = uint64(fd + 1)
		unix.Setrlimit(unix.RLIMIT_NOFILE, &low)
		defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
		c := p.command(t.Exit[0], t.Exit[1:]...)
		set(c, "ExtraFiles", []*os.File{last})
		r.say("run", c.Run())
	}),
	run("Pdeathsig", func(t *task, p pack, r *report) {
		c := p.command(t.Exit[0], t.Exit[1:]...)
		set(c, "SysProcAttr", &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL})
		r.say("run", c.Run())
	}),
}

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
