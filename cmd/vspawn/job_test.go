//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test starts a shell, which leads the session of a new terminal, and
// controls jobs as shells do. It starts vspawn, and that the player, who does
// what it is told on one pipe and tells on another what happens to it. The
// shell also has the keyboard.
const (
	keyboardFD = 3 // of the shell
	ordersFD   = 3 // of vspawn and the player
	eventsFD   = 4
)

const (
	ctrlC = "\x03"
	ctrlZ = "\x1a"
)

// Whatever stops the child, the shell gets control, as if vspawn were not there;
// and when the shell continues the job, it goes on.
func TestJobControl(t *testing.T) {
	for name := range scenes {
		t.Run(name, func(t *testing.T) {
			ptmx, tty := pty(t)
			ctx := t.Context()
			// What this is about shows in waiting for ever. With the end of the
			// terminal all of its processes get SIGHUP.
			if deadline, ok := t.Deadline(); ok {
				var cancel context.CancelFunc
				ctx, cancel = context.WithDeadline(ctx, deadline.Add(-time.Until(deadline)/10))
				defer cancel()
			}
			cmd := exec.CommandContext(ctx, "/proc/self/exe", "shell", name)
			cmd.Env = append(os.Environ(), asChild+"=1")
			cmd.Stdin = tty
			cmd.ExtraFiles = []*os.File{keyboardFD - 3: ptmx}
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			// No pipe, which whoever is left would keep open.
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Run(); err != nil {
				text, _ := os.ReadFile(out.Name())
				t.Errorf("%v: %s", err, text)
			}
		})
	}
}

var (
	foreground = []string{"-pgid", "0", "-foreground"}
	background = []string{"-pgid", "0"} // of the terminal: the child is another group
)

var scenes = map[string]func(*jobShell){
	"foreground": func(s *jobShell) {
		s.start(foreground)
		for range 3 {
			s.key(ctrlZ)
			s.stopped(unix.SIGTSTP)
			s.childStopped()
			s.fg()
			s.event("continued in the foreground")
		}
		s.exits()
	},
	"in the background for a while": func(s *jobShell) {
		s.start(foreground)
		s.key(ctrlZ)
		s.stopped(unix.SIGTSTP)
		s.bg()
		s.event("continued in the background")
		s.order("read")
		s.stopped(unix.SIGTTIN)
		s.fg()
		s.event("continued in the foreground")
		s.key("x\n")
		s.event("has read x")
		s.exits()
	},
	"ends in the background": func(s *jobShell) {
		s.start(foreground)
		s.key(ctrlZ)
		s.stopped(unix.SIGTSTP)
		s.bg()
		s.event("continued in the background")
		s.exits()
	},
	"ours ends in the background": func(s *jobShell) {
		s.start([]string{"-foreground"})
		s.key(ctrlZ)
		s.stopped(unix.SIGTSTP)
		s.bg()
		s.event("continued in the background")
		s.exits()
	},
	"takes it from the shell": func(s *jobShell) {
		s.inBackground = true
		s.start(foreground)
		s.key(ctrlZ)
		s.stopped(unix.SIGTSTP)
		s.has(unix.Getpgrp())
		s.fg()
		s.event("continued in the foreground")
		s.exits()
	},
	"another group": func(s *jobShell) {
		s.start(background)
		for range 3 {
			s.key(ctrlZ)
			s.stopped(unix.SIGTSTP)
			s.childStopped()
			s.fg()
			s.event("continued in the background")
			s.has(s.vspawn)
		}
		s.exits()
	},
	"our group": func(s *jobShell) {
		s.start(nil)
		for range 2 {
			s.key(ctrlZ)
			s.stopped(unix.SIGTSTP)
			s.childStopped()
			s.fg()
			s.event("continued in the foreground")
		}
		s.exits()
	},
	"from outside": func(s *jobShell) {
		for _, flags := range [][]string{foreground, background} {
			s.start(flags)
			for range 2 {
				unix.Kill(s.child, unix.SIGSTOP)
				s.stopped(unix.SIGTSTP)
				s.fg()
				s.event("continued in the " + s.where)
			}
			s.exits()
		}
	},
	// Only vspawn is stopped, and the shell takes the terminal.
	"vspawn alone": func(s *jobShell) {
		s.start(foreground)
		unix.Kill(s.vspawn, unix.SIGSTOP)
		s.stopped(unix.SIGSTOP)
		s.fg()
		for s.group() != s.child { // there is no event
			time.Sleep(time.Millisecond)
		}
		unix.Kill(s.vspawn, unix.SIGTSTP)
		s.stopped(unix.SIGTSTP)
		s.childStopped()
		s.fg()
		s.event("continued in the foreground")
		s.exits()
	},
	// vspawn's group has a member that knows nothing of jobs, and has started it.
	"a script": func(s *jobShell) {
		s.script = true
		s.start(foreground)
		for range 2 {
			s.key(ctrlZ)
			s.stopped(unix.SIGTSTP)
			s.childStopped()
			s.fg()
			s.event("continued in the foreground")
		}
		s.exits()
	},
	// There is no shell: vspawn leads the session.
	"no shell": func(s *jobShell) {
		for _, flags := range [][]string{foreground, background} {
			s.withoutControl = true
			s.start(flags)
			s.key(ctrlZ)
			s.event("continued in the " + s.where)
			s.key(ctrlC)
			s.ended(interrupted)
		}
	},
	// The child wants the terminal and can't have it. It is not continued again
	// and again, but its end is possible.
	"no shell, no terminal": func(s *jobShell) {
		s.withoutControl = true
		for _, end := range []struct {
			signal syscall.Signal
			send   func()
		}{
			{unix.SIGINT, func() { s.key(ctrlC) }},
			{unix.SIGHUP, func() { unix.Kill(s.vspawn, unix.SIGHUP) }},
		} {
			s.start(background)
			s.order("read")
			s.childStopped()
			end.send()
			s.ended(exitSignal + int(end.signal))
		}
	},
	// The stop that was asked for is the child's alone.
	"stopped at its start": func(s *jobShell) {
		s.launch(append([]string{"-stopped"}, foreground...))
		for s.child == 0 {
			s.child = stoppedPlayer(s.vspawn)
		}
		unix.Kill(s.child, unix.SIGCONT)
		s.event(fmt.Sprint("ready ", s.child))
		s.exits()
	},
	// A key is for the child's children, too.
	"interrupted": func(s *jobShell) {
		for _, flags := range [][]string{background, {"-setsid"}} {
			s.start(flags)
			s.order("run")
			if _, err := s.events.ReadByte(); err != nil {
				s.fail("the child's child does not start: %v", err)
			}
			s.key(ctrlC)
			s.event(fmt.Sprint("its child has ended by ", 40+int(unix.SIGINT)))
			s.exits()
		}
	},
	"SIGTSTP ignored": func(s *jobShell) {
		signal.Ignore(unix.SIGTSTP)
		s.start(background)
		if !ignoredBy(s.child, unix.SIGTSTP) {
			s.fail("the child does not ignore SIGTSTP")
		}
		unix.Kill(s.vspawn, unix.SIGTSTP)
		s.exits()
	},
}

// The exit statuses of the player.
const (
	done        = 7
	interrupted = 8
)

// player is the child.
func player() int {
	signals := make(chan os.Signal, 10)
	signal.Notify(signals, unix.SIGCONT, unix.SIGINT)
	orders, events := bufio.NewScanner(os.NewFile(ordersFD, "orders")), os.NewFile(eventsFD, "events")
	fmt.Fprintln(events, "ready", os.Getpid())
	go func() {
		for s := range signals {
			group, _ := unix.IoctlGetInt(0, unix.TIOCGPGRP)
			switch {
			case s == unix.SIGINT:
				os.Exit(interrupted)
			case group == unix.Getpgrp():
				fmt.Fprintln(events, "continued in the foreground")
			default:
				fmt.Fprintln(events, "continued in the background")
			}
		}
	}()
	for orders.Scan() {
		switch orders.Text() {
		case "read":
			// Handlers may be too late: the read is tried again, and stops us.
			setAction(unix.SIGINT, action{})
			setAction(unix.SIGHUP, action{})
			line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
			fmt.Fprint(events, "has read ", line)
		case "run":
			signal.Ignore(unix.SIGINT, unix.SIGCONT)
			cmd := exec.Command("/proc/self/exe", "await", strconv.Itoa(int(unix.SIGINT)))
			cmd.ExtraFiles = []*os.File{events}
			cmd.Run()
			fmt.Fprintln(events, "its child has ended by", cmd.ProcessState.ExitCode())
		default:
			return done
		}
	}
	return done
}

// script runs vspawn and waits, as a shell does that controls no jobs.
func script(args []string) int {
	cmd := exec.Command("/proc/self/exe", append([]string{"vspawn"}, args...)...)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	cmd.ExtraFiles = []*os.File{os.NewFile(ordersFD, "orders"), os.NewFile(eventsFD, "events")}
	cmd.Run()
	return cmd.ProcessState.ExitCode()
}

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

func shell(scene string) int {
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT) // the keyboard's, without control of jobs
	unix.CloseOnExec(keyboardFD)
	scenes[scene](&jobShell{keyboard: os.NewFile(keyboardFD, "keyboard")})
	return 0
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

// stoppedPlayer is the child of a process that is both, or 0.
func stoppedPlayer(parent int) int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		for _, pid := range strings.Fields(string(text)) {
			argv, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			stat, _ := os.ReadFile("/proc/" + pid + "/stat")
			if strings.HasSuffix(string(argv), "\x00player\x00") && strings.Contains(string(stat), ") T ") {
				n, _ := strconv.Atoi(pid)
				return n
			}
		}
	}
	return 0
}

// ignoredBy tells whether a process ignores a signal.
func ignoredBy(pid int, s syscall.Signal) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, set, _ := strings.Cut(string(text), "\nSigIgn:\t")
	var ignored uint64
	fmt.Sscanf(set, "%x", &ignored)
	return ignored>>(s-1)&1 != 0
}
