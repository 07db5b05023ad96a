//go:build linux

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A jobShell is a shell with one job. It gives up at the first failure.
type jobShell struct {
	keyboard    *os.File
	vspawn      int // or the script that has started it
	child       int
	where       string // the child is, when it starts
	continuedIn string // the job was
	orders      *os.File
	events      *bufio.Reader

	script         bool // starts vspawn
	inBackground   bool // the job is started there
	withoutControl bool // of jobs: what is started is in the shell's group
}

func (s *jobShell) fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func (s *jobShell) check(err error) {
	if err != nil {
		s.fail("%v", err)
	}
}

// start starts the job, and waits until the child is there.
func (s *jobShell) start(flags []string) {
	s.launch(flags)
	var err error
	if _, err = fmt.Fscanf(s.events, "ready %d\n", &s.child); err != nil {
		s.fail("the child does not start: %v", err)
	}
}

func (s *jobShell) launch(flags []string) {
	s.where = "background"
	if slices.Contains(flags, "-foreground") {
		s.where = "foreground"
	}
	orders, in, err := os.Pipe()
	s.check(err)
	out, events, err := os.Pipe()
	s.check(err)
	s.orders, s.events = in, bufio.NewReader(out)
	args := slices.Concat([]string{"vspawn", "run", "-fd", fmt.Sprintf("%d=%[1]d", ordersFD), "-fd", fmt.Sprintf("%d=%[1]d", eventsFD)},
		flags, []string{"/proc/self/exe", "player"})
	if s.script {
		args[0] = "script"
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	cmd.ExtraFiles = []*os.File{orders, events}
	if !s.withoutControl {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Foreground: !s.inBackground}
	}
	s.check(cmd.Start())
	orders.Close()
	events.Close()
	s.vspawn = cmd.Process.Pid
}

// key is for keys that are pressed.
func (s *jobShell) key(keys string) {
	_, err := s.keyboard.WriteString(keys)
	s.check(err)
}

// order is for the player.
func (s *jobShell) order(text string) {
	_, err := fmt.Fprintln(s.orders, text)
	s.check(err)
}

// event is what the player tells next.
func (s *jobShell) event(want string) {
	got, err := s.events.ReadString('\n')
	if err != nil || got != want+"\n" {
		s.fail("the child tells %q (%v), want %q", got, err, want)
	}
}

// wait waits as a shell does.
func (s *jobShell) wait() (status unix.WaitStatus) {
	for {
		if _, err := unix.Wait4(s.vspawn, &status, unix.WUNTRACED, nil); err != unix.EINTR {
			s.check(err)
			return status
		}
	}
}

// stopped waits until the job is, and takes the terminal.
func (s *jobShell) stopped(by syscall.Signal) {
	if status := s.wait(); !status.Stopped() || status.StopSignal() != by {
		s.fail("vspawn's status is %#x, want stopped by %v", status, by)
	}
	if group := s.group(); group == s.child && by != unix.SIGSTOP {
		s.fail("the child has kept the terminal")
	}
	s.give(unix.Getpgrp())
}

// childStopped waits until the child is.
func (s *jobShell) childStopped() {
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.child))
		s.check(err)
		if _, rest, _ := strings.Cut(string(text), ") "); rest[0] == 'T' {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// fg and bg continue the job.
func (s *jobShell) fg() {
	s.give(s.vspawn)
	s.bg()
	s.continuedIn = "foreground"
}

func (s *jobShell) bg() {
	s.continuedIn = "background"
	s.check(unix.Kill(-s.vspawn, unix.SIGCONT))
}

// exits tells the player to.
func (s *jobShell) exits() {
	s.order("exit")
	s.ended(done)
}

// ended waits for the end of the job. The child does not keep the terminal.
func (s *jobShell) ended(want int) {
	if status := s.wait(); !status.Exited() || status.ExitStatus() != want {
		s.fail("vspawn's status is %#x, want exit status %d", status, want)
	}
	switch group := s.group(); {
	case s.continuedIn == "background":
		s.has(unix.Getpgrp())
	case group == s.child:
		s.fail("the child has kept the terminal")
	}
	s.give(unix.Getpgrp())
}

// group is the terminal's foreground group.
func (s *jobShell) group() int {
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	s.check(err)
	return group
}

// has checks whose the terminal is.
func (s *jobShell) has(want int) {
	if got := s.group(); got != want {
		s.fail("the terminal is the group %d's, not %d's", got, want)
	}
}

func (s *jobShell) give(group int) { s.check((&terminal{}).set(group)) }
