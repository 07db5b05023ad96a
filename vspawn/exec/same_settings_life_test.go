//go:build linux

package exec

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// lifeSettings are about a command's start, end and names.
var lifeSettings = []setting{
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
			for _, sys := range []syscall.SysProcAttr{{}, {Setctty: true, Ctty: 100}, {UseCgroupFD: true, CgroupFD: -1},
				{Chroot: "/not/here"}} {
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
}
