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

func shell(scene string) int {
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT) // the keyboard's, without control of jobs
	unix.CloseOnExec(keyboardFD)
	scenes[scene](&jobShell{keyboard: os.NewFile(keyboardFD, "keyboard")})
	return 0
}

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
