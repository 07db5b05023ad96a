//go:build linux

package exec

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// A terminal is a pseudo-terminal.
type terminal struct{ master, slave *os.File }

func newTerminal() (*terminal, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		master.Close()
		return nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		master.Close()
		return nil, err
	}
	slave, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		master.Close()
		return nil, err
	}
	return &terminal{master, slave}, nil
}

// desk is what the cases are about: the helper's own terminal, as its
// descriptors tty and ownAt, and one that nobody has.
type desk struct {
	own, free *terminal
	tty       int
}

// ownAt is a number at which the helper has its terminal, and the child is to
// have nothing.
const ownAt = 90

var theDesk *desk

func newDesk() *desk {
	// A leader whose terminal goes gets SIGHUP, and SIGTTOU if it changes the
	// foreground from behind.
	signal.Ignore(syscall.SIGHUP, syscall.SIGTTOU, syscall.SIGCONT)
	own, err := newTerminal()
	if err != nil {
		panic(err)
	}
	free, err := newTerminal()
	if err != nil {
		panic(err)
	}
	return &desk{own, free, int(own.slave.Fd())}
}

// tidy gives the helper its terminal, in the foreground.
func (d *desk) tidy() {
	if sid, err := unix.IoctlGetInt(d.tty, unix.TIOCGSID); err != nil || sid != os.Getpid() {
		if err := unix.IoctlSetInt(d.tty, unix.TIOCSCTTY, 1); err != nil {
			panic(err)
		}
	}
	if err := unix.IoctlSetPointerInt(d.tty, unix.TIOCSPGRP, unix.Getpgrp()); err != nil {
		panic(err)
	}
}

// A seat is a case: what a command is asked for at the desk.
type seat struct {
	name string
	set  func(d *desk, p *parts)
}

var seats = []seat{
	{"none", func(*desk, *parts) {}},
	{"Setctty", func(d *desk, p *parts) { p.Stdin, p.SysProcAttr.Setctty = d.free.slave, true }},
	{"Setsid, Setctty", func(d *desk, p *parts) {
		p.Stdin = d.free.slave
		p.SysProcAttr.Setsid, p.SysProcAttr.Setctty = true, true
	}},
	{"Setsid, Setctty of ExtraFiles", func(d *desk, p *parts) {
		p.ExtraFiles = []*os.File{nil, nil, d.free.slave}
		p.SysProcAttr.Setsid, p.SysProcAttr.Setctty, p.SysProcAttr.Ctty = true, true, 5
	}},
	{"Setsid, Setctty of the master", func(d *desk, p *parts) {
		p.ExtraFiles = []*os.File{d.free.master}
		p.SysProcAttr.Setsid, p.SysProcAttr.Setctty, p.SysProcAttr.Ctty = true, true, 3
	}},
	{"Setsid, Setctty of the parent's", func(d *desk, p *parts) {
		p.Stdin = d.own.slave
		p.SysProcAttr.Setsid, p.SysProcAttr.Setctty = true, true
	}},
	{"Setctty of the parent's", func(d *desk, p *parts) { p.Stdin, p.SysProcAttr.Setctty = d.own.slave, true }},
	{"Setsid, Setctty of one closed", func(d *desk, p *parts) {
		p.SysProcAttr.Setsid, p.SysProcAttr.Setctty, p.SysProcAttr.Ctty = true, true, ownAt
	}},
	{"Setsid, Setctty of Stdin closed", func(d *desk, p *parts) {
		p.Stdin = closedFile()
		p.SysProcAttr.Setsid, p.SysProcAttr.Setctty = true, true
	}},
	{"Setsid, Setctty beyond", func(d *desk, p *parts) {
		p.SysProcAttr.Setsid, p.SysProcAttr.Setctty, p.SysProcAttr.Ctty = true, true, 1000
	}},
	{"Setsid, Setctty long", func(d *desk, p *parts) {
		p.Stdin = d.free.slave
		p.SysProcAttr.Setsid, p.SysProcAttr.Setctty, p.SysProcAttr.Ctty = true, true, long(-1<<32)
	}},
	{"Noctty", func(d *desk, p *parts) { p.Stdin, p.SysProcAttr.Noctty = d.own.slave, true }},
	{"Noctty of another", func(d *desk, p *parts) { p.Stdin, p.SysProcAttr.Noctty = d.free.slave, true }},
	{"Noctty of the master", func(d *desk, p *parts) { p.Stdin, p.SysProcAttr.Noctty = d.own.master, true }},
	{"Noctty of Stdin closed", func(d *desk, p *parts) { p.Stdin, p.SysProcAttr.Noctty = closedFile(), true }},
	{"Noctty of /dev/null", func(d *desk, p *parts) { p.SysProcAttr.Noctty = true }},
	{"Setsid, Noctty", func(d *desk, p *parts) {
		p.Stdin = d.own.slave
		p.SysProcAttr.Setsid, p.SysProcAttr.Noctty = true, true
	}},
	{"Setsid, Noctty, Setctty", func(d *desk, p *parts) {
		p.Stdin = d.free.slave
		p.SysProcAttr.Setsid, p.SysProcAttr.Noctty, p.SysProcAttr.Setctty = true, true, true
	}},
	{"Noctty, Setctty", func(d *desk, p *parts) {
		p.Stdin = d.own.slave
		p.SysProcAttr.Noctty, p.SysProcAttr.Setctty = true, true
	}},
	{"Foreground", func(d *desk, p *parts) { p.SysProcAttr.Foreground, p.SysProcAttr.Ctty = true, d.tty }},
	{"Foreground, Stdin", func(d *desk, p *parts) {
		p.Stdin = d.own.slave
		p.SysProcAttr.Foreground, p.SysProcAttr.Ctty = true, d.tty
	}},
	{"Foreground, Setpgid", func(d *desk, p *parts) {
		p.SysProcAttr.Foreground, p.SysProcAttr.Setpgid, p.SysProcAttr.Ctty = true, true, d.tty
	}},
	{"Foreground, Pgid", func(d *desk, p *parts) {
		p.SysProcAttr.Foreground, p.SysProcAttr.Pgid, p.SysProcAttr.Ctty = true, unix.Getpgrp(), d.tty
	}},
	{"Foreground at its own number", func(d *desk, p *parts) { p.SysProcAttr.Foreground, p.SysProcAttr.Ctty = true, ownAt }},
	{"Foreground overwritten", func(d *desk, p *parts) {
		p.ExtraFiles = make([]*os.File, ownAt-3+1)
		p.ExtraFiles[ownAt-3] = d.free.slave
		p.SysProcAttr.Foreground, p.SysProcAttr.Ctty = true, ownAt
	}},
	{"Foreground long", func(d *desk, p *parts) { p.SysProcAttr.Foreground, p.SysProcAttr.Ctty = true, long(1<<32)|d.tty }},
	{"Foreground of another", func(d *desk, p *parts) { p.SysProcAttr.Foreground, p.SysProcAttr.Ctty = true, int(d.free.slave.Fd()) }},
	{"Foreground of the master", func(d *desk, p *parts) { p.SysProcAttr.Foreground, p.SysProcAttr.Ctty = true, int(d.own.master.Fd()) }},
	{"Foreground of the child's number", func(d *desk, p *parts) {
		p.Stdin = d.own.slave
		p.SysProcAttr.Foreground = true
	}},
	{"Foreground of one closed", func(d *desk, p *parts) { p.SysProcAttr.Foreground, p.SysProcAttr.Ctty = true, 9999 }},
	{"Setsid, Foreground", func(d *desk, p *parts) {
		p.SysProcAttr.Setsid, p.SysProcAttr.Foreground, p.SysProcAttr.Ctty = true, true, d.tty
	}},
	{"Foreground, Noctty", func(d *desk, p *parts) {
		p.Stdin = d.own.slave
		p.SysProcAttr.Foreground, p.SysProcAttr.Noctty, p.SysProcAttr.Ctty = true, true, d.tty
	}},
	{"Foreground, CLONE_NEWPID", func(d *desk, p *parts) {
		p.Stdin = d.own.slave
		p.SysProcAttr.Foreground, p.SysProcAttr.Cloneflags, p.SysProcAttr.Ctty = true, syscall.CLONE_NEWPID, d.tty
	}},
	{"Foreground, Setctty", func(d *desk, p *parts) {
		p.Stdin = d.own.slave
		p.SysProcAttr.Foreground, p.SysProcAttr.Setctty = true, true
	}},
}

func init() {
	suites["terminal"] = func() suite {
		var s suite
		for _, c := range seats {
			s.names = append(s.names, c.name)
		}
		s.run = func(t *task, p pack, i int) string {
			if theDesk == nil {
				theDesk = newDesk()
			}
			return theDesk.run(t, p, seats[i])
		}
		return s
	}
}

// run says what the child is given, and whose the terminals are then.
func (d *desk) run(t *task, p pack, s seat) string {
	d.tidy()
	var r report
	tb := &standIn{}
	defer tb.clean()
	puppet := tiny.New(tb)
	if err := unix.Dup3(d.tty, ownAt, 0); err != nil {
		panic(err)
	}
	defer unix.Close(ownAt)
	parts := new(parts)
	s.set(d, parts)
	c := p.command(t.Puppet[0], t.Puppet[1:]...)
	set(c, "SysProcAttr", &parts.SysProcAttr)
	if parts.Stdin != nil {
		set(c, "Stdin", parts.Stdin)
	}
	files := extra(puppet)
	copy(files, parts.ExtraFiles)
	set(c, "ExtraFiles", files)
	err := c.Start()
	r.say("start", err)
	pid := 0
	if err == nil {
		pid = process(c).Pid
		r.given(puppet)
		tty := &tiny.Call{Nr: unix.SYS_OPENAT, Args: []any{unix.AT_FDCWD, "/dev/tty", unix.O_RDWR}}
		r.say("/dev/tty", puppet.Do(tty), tty.Err())
	}
	for i, fd := range []int{d.tty, int(d.free.slave.Fd())} {
		name := []string{"own", "free"}[i]
		for _, of := range []struct {
			name    string
			request uint
		}{{"session", unix.TIOCGSID}, {"foreground", unix.TIOCGPGRP}} {
			id, err := unix.IoctlGetInt(fd, of.request)
			whose := map[int]string{os.Getpid(): "the parent's", pid: "the child's"}[id]
			r.say(name+" terminal's "+of.name, whose, err)
		}
	}
	if err == nil {
		puppet.Close()
		r.ended(c, c.Wait())
	}
	return r.String()
}

// What SysProcAttr asks of terminals is as under os/exec, by the same numbers.
func TestSameTerminal(t *testing.T) {
	helper.SkipEmulated(t, "pseudo-terminals' ioctls in a child that is no copy")
	term, err := newTerminal()
	if err != nil {
		t.Skipf("no pseudo-terminals: %v", err)
	}
	term.master.Close()
	term.slave.Close()
	compare(t, newTask(t, "terminal"), nil, true)
}
