//go:build linux

package tests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
	"github.com/vspawn/vspawn/vspawn/exec"
)

// A soakWay is how a child is started and waited for.
type soakWay struct {
	name   string
	parts  []string // of the attributes that do not go with it
	direct bool     // by package vspawn, and not by a Cmd
	whole  bool     // no context ends
	run    func(c *soakStart)
}

var soakWays = []soakWay{
	{name: "Start, Wait", direct: true, run: func(c *soakStart) { c.waited(c.start()) }},
	{name: "Compile, Wait", direct: true, run: func(c *soakStart) { c.waited(c.startPlan()) }},
	{name: "Plan.For, Wait", direct: true, run: func(c *soakStart) { c.waited(c.startFor()) }},
	{name: "Start, WaitExit, Poll", direct: true, run: func(c *soakStart) { c.polled(c.start()) }},
	{name: "Start, WaitFor", direct: true, run: func(c *soakStart) { c.waitedFor(c.start()) }},
	{name: "Start, some Waits", direct: true, run: func(c *soakStart) { c.waitedByMany(c.start()) }},
	{name: "Start, Waits that end early", direct: true, run: func(c *soakStart) { c.waitedLater(c.start()) }},
	{name: "Start, Close, wait4", parts: []string{"reaped by the kernel"}, direct: true, run: func(c *soakStart) { c.closed(c.start()) }},
	{name: "Cmd.Run", run: func(c *soakStart) { c.command((*exec.Cmd).Run) }},
	{name: "Cmd.Output", run: func(c *soakStart) {
		c.command(func(cmd *exec.Cmd) error {
			out, err := cmd.Output()
			if len(out) > 0 {
				c.fail("its output is %q", out)
			}
			return err
		})
	}},
	{name: "Cmd.StdoutPipe", run: func(c *soakStart) { c.command(readPipe) }},
}

// leavingWay is seldom taken: it takes a Go program.
var leavingWay = soakWay{name: "orphan", direct: true, whole: true, run: (*soakStart).orphan}

func (c *soakStart) start() (*vspawn.Process, error) {
	return vspawn.Start(c.ctx, c.path, nil, &c.attr)
}

func (c *soakStart) startPlan() (*vspawn.Process, error) {
	plan, err := vspawn.Compile(c.path, nil, &c.attr)
	if err != nil {
		return nil, err
	}
	return plan.Start(c.ctx)
}

func (c *soakStart) startFor() (*vspawn.Process, error) {
	if c.byFD { // such a plan is for one program
		return c.startPlan()
	}
	plan, err := vspawn.Compile("/another", nil, &c.attr)
	if err != nil {
		return nil, err
	}
	if plan, err = plan.For(c.path, nil, nil); err != nil {
		return nil, err
	}
	return plan.Start(c.ctx)
}

// born counts a child that was started, lets it go on if it is stopped, and has it
// end.
func (c *soakStart) born(p *vspawn.Process, err error) bool {
	if !c.started(err) {
		return false
	}
	c.letGo(p)
	return true
}

func (c *soakStart) letGo(p *vspawn.Process) {
	c.s.nurse(p, func() { p.Signal(unix.SIGCONT) })
	switch {
	case c.attr.Ptrace:
		c.stopsBy(p, unix.SIGTRAP)
		if err := unix.PtraceDetach(p.Pid()); err != nil && !c.s.stormy.Load() {
			c.fail("PTRACE_DETACH: %v", err)
		}
	case c.attr.StartStopped:
		if !c.s.stormy.Load() { // else the foe may have continued it
			c.stopsBy(p, unix.SIGSTOP)
		}
		p.Signal(unix.SIGCONT)
	}
	c.end(p.Signal)
}

// stopsBy waits for the stop in which the child is born.
func (c *soakStart) stopsBy(p *vspawn.Process, want syscall.Signal) {
	s, err := p.WaitFor(noContext, vspawn.Stopped|vspawn.Exited)
	if c.s.stormy.Load() {
		return
	}
	if err != nil || !s.Stopped() || s.Signal() != want {
		c.fail("it is %v, %v, and should be stopped by %v", s, err, want)
	}
}

// over counts the end that a wait has told.
func (c *soakStart) over(p *vspawn.Process, s *vspawn.State, err error) {
	defer c.s.leave(p)
	if err != nil {
		c.ended(0, err)
		return
	}
	if s.Pid() != p.Pid() {
		c.fail("the state of %d is that of %d", p.Pid(), s.Pid())
	}
	c.ended(s.Sys(), nil)
}

func (c *soakStart) waited(p *vspawn.Process, err error) {
	if c.born(p, err) {
		s, err := p.Wait(noContext)
		c.over(p, s, err)
	}
}

func (c *soakStart) polled(p *vspawn.Process, err error) {
	if !c.born(p, err) {
		return
	}
	if err := p.WaitExit(noContext); err != nil {
		c.fail("WaitExit: %v", err)
	}
	s, err := p.Poll()
	if s == nil && err == nil {
		err = errors.New("it has ended, and Poll says nothing")
	}
	c.over(p, s, err)
}

func (c *soakStart) waitedFor(p *vspawn.Process, err error) {
	if !c.born(p, err) {
		return
	}
	for {
		s, err := p.WaitFor(noContext, vspawn.Exited|vspawn.Stopped|vspawn.Continued)
		if err != nil || s.Exited() || s.Signaled() {
			c.over(p, s, err)
			return
		}
	}
}

func (c *soakStart) waitedByMany(p *vspawn.Process, err error) {
	if !c.started(err) {
		return
	}
	var all sync.WaitGroup
	var states [3]*vspawn.State
	for i := range states {
		all.Go(func() {
			var err error
			if states[i], err = p.Wait(noContext); err != nil {
				c.fail("a Wait of several: %v", err)
			}
		})
	}
	c.letGo(p)
	all.Wait()
	for _, s := range states {
		if s != states[0] {
			c.fail("two Waits gave %v and %v", s, states[0])
		}
	}
	s, err := p.Wait(noContext)
	c.over(p, s, err)
}

func (c *soakStart) waitedLater(p *vspawn.Process, err error) {
	if !c.born(p, err) {
		return
	}
	for {
		ctx, cancel := context.WithTimeoutCause(noContext, rand.N(time.Duration(c.s.took.Load())+1), errEnough)
		s, err := p.Wait(ctx)
		cancel()
		if !errors.Is(err, errEnough) {
			c.over(p, s, err)
			return
		}
		c.s.figures.early.Add(1)
	}
}

// closed has the child reaped by another than its Process.
func (c *soakStart) closed(p *vspawn.Process, err error) {
	if !c.born(p, err) {
		return
	}
	if s, err := p.Poll(); s != nil || err != nil {
		c.over(p, s, err)
		return
	}
	if fd, err := p.Pidfd(); err != nil {
		c.fail("Pidfd: %v", err)
	} else {
		defer unix.Close(fd)
		c.s.nurse(p, func() { unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0) })
	}
	defer c.s.leave(p)
	p.Close()
	if s, err := p.Wait(noContext); s != nil || !errors.Is(err, os.ErrClosed) {
		c.fail("after Close Wait gives %v, %v", s, err)
	}
	c.s.figures.closed.Add(1)
	var status unix.WaitStatus
	for err = unix.EINTR; err == unix.EINTR; {
		_, err = unix.Wait4(p.Pid(), &status, unix.WALL, nil)
	}
	c.ended(syscall.WaitStatus(status), err)
}

// command runs a Cmd. The end of a context ends one that sleeps.
func (c *soakStart) command(run func(*exec.Cmd) error) {
	if c.sleeps && !c.cancelled {
		defer c.cancelSoon()()
	}
	cmd := exec.Command(c.path)
	if c.cancelled {
		cmd = exec.CommandContext(c.ctx, c.path)
	}
	if len(c.names) > 0 || rand.IntN(2) == 0 {
		cmd.Attr = &c.attr
	}
	err := run(cmd)
	if cmd.Process == nil {
		c.started(err)
		return
	}
	if c.started(nil) {
		status, err := exitStatus(cmd.ProcessState, err)
		c.ended(status, err)
	}
}

func readPipe(cmd *exec.Cmd) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if b, err := io.ReadAll(out); len(b) > 0 || err != nil {
		return fmt.Errorf("its output is %q, %v", b, err)
	}
	return cmd.Wait()
}

// orphan starts a program that leaves a child, which comes to the Reaper.
func (c *soakStart) orphan() {
	r, w := rawPipe()
	defer r.Close()
	argv := leaver.Argv(c.s.exits[0])
	c.path, c.sleeps, c.missing, c.status, c.isGo = program(argv), false, false, 0, true
	p, err := vspawn.Start(c.ctx, c.path, argv, &vspawn.Attr{
		Files: []vspawn.File{{Child: 1, Parent: w}, {Child: 2, Path: os.DevNull, Flags: unix.O_WRONLY}}})
	w.Close()
	if !c.started(err) {
		return
	}
	c.s.nurse(p, func() { p.Signal(unix.SIGCONT) })
	out, _ := io.ReadAll(r)
	s, err := p.Wait(noContext)
	c.over(p, s, err)
	var pid int
	if _, err := fmt.Sscan(string(out), &pid); err != nil {
		if err == nil && s.Exited() {
			c.fail("it says %q", out)
		}
		return // the foe has killed it
	}
	c.s.orphans.await(pid)
	c.s.figures.orphans.Add(1)
}
