//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// leakGrace is how long processes may outlive their test binary, for orphans
// that are just about to end. It is spent only when there is a leak.
const leakGrace = 3 * time.Second

// quitGrace is how long a hanging binary may take to print its goroutines, on a
// machine that may be busy.
const quitGrace = 20 * time.Second

// A process is a started test binary.
type process struct {
	*os.Process
	out *os.File // its stdout and stderr
}

// An ending tells how a process ended.
type ending struct {
	status string   // "" is exit status 0
	leaked []string // processes that it left behind; they are dead by now
}

// wait hands the process' output to output until it has ended and none of its
// descendants is left. If the process is silent for idle, it calls hung and
// ends the process, asking for its goroutines first.
func (p *process) wait(idle time.Duration, output func([]byte) error, hung func() error) (ending, error) {
	beat := make(chan struct{}, 1)
	forwarded := make(chan error, 1)
	go func() {
		forwarded <- forward(p.out, func(data []byte) error {
			select {
			case beat <- struct{}{}:
			default:
			}
			return output(data)
		})
	}()
	ended := make(chan struct{})
	watched := make(chan error, 1)
	go func() { watched <- p.watch(idle, beat, ended, hung) }()

	status, err := reapUntil(p.Pid)
	close(ended)
	werr := <-watched
	if err != nil {
		return ending{}, err
	}
	leaked, err := reapRest()
	if err != nil {
		return ending{}, err
	}
	p.Release()
	// No process is left that could hold the pipe, so this ends.
	ferr := <-forwarded
	p.out.Close()
	for _, err := range []error{werr, ferr} {
		if err != nil {
			return ending{}, err
		}
	}
	return ending{statusText(status), leaked}, nil
}

// watch ends the process when no beat came for idle.
func (p *process) watch(idle time.Duration, beat, ended <-chan struct{}, hung func() error) error {
	t := time.NewTimer(idle)
	defer t.Stop()
	for {
		select {
		case <-ended:
			return nil
		case <-beat:
			t.Reset(idle)
			continue
		case <-t.C:
		}
		err := hung()
		// The handle is a pidfd, so neither signal can reach another process.
		p.Signal(unix.SIGQUIT)
		select {
		case <-ended:
		case <-time.After(quitGrace):
			p.Signal(unix.SIGKILL)
		}
		return err
	}
}

// forward hands what it reads to output, up to the end of the file. After an
// error it reads on, so that the writer doesn't block.
func forward(r *os.File, output func([]byte) error) error {
	var failed error
	buf := make([]byte, wire.MaxOutput)
	for {
		n, err := r.Read(buf)
		if n > 0 && failed == nil {
			failed = output(buf[:n])
		}
		if err != nil {
			return failed
		}
	}
}

// reapUntil reaps whatever ends until pid has, and returns its status. PID 1
// waits for its children and for orphans at this one place, one after the
// other, so no status can be taken by the wrong waiter.
func reapUntil(pid int) (unix.WaitStatus, error) {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("waiting for process %d: %w", pid, err)
		case got == pid:
			return ws, nil
		}
	}
}

// reapRest waits for all other processes, and after leakGrace kills and names
// them. When it returns there is no other process in the guest.
func reapRest() (leaked []string, err error) {
	deadline := time.Now().Add(leakGrace)
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		switch {
		case err == unix.ECHILD:
			return leaked, nil
		case err == unix.EINTR || err == nil && pid > 0:
			continue
		case err != nil:
			return leaked, fmt.Errorf("reaping orphans: %w", err)
		}
		if time.Now().After(deadline) {
			if leaked == nil {
				leaked = processes()
			}
			// Again on every turn: what it killed may just have forked.
			if err := unix.Kill(-1, unix.SIGKILL); err != nil && err != unix.ESRCH {
				return leaked, fmt.Errorf("killing leaked processes: %w", err)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// processes names all user processes but PID 1.
func processes() []string {
	var found []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == 1 {
			continue
		}
		// Kernel threads and zombies have no command line.
		if b, _ := os.ReadFile(dir + "/cmdline"); len(b) > 0 {
			args := strings.ReplaceAll(strings.TrimRight(string(b), "\x00"), "\x00", " ")
			found = append(found, fmt.Sprintf("pid %d: %s", pid, args))
		}
	}
	return found
}

func statusText(ws unix.WaitStatus) string {
	switch {
	case ws.Signaled():
		s := "killed by " + unix.SignalName(ws.Signal())
		if ws.CoreDump() {
			s += " (core dumped)"
		}
		return s
	case ws.ExitStatus() != 0:
		return fmt.Sprintf("exit status %d", ws.ExitStatus())
	}
	return ""
}
