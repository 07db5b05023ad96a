//go:build !plan9

package vspawn

import (
	"fmt"
	"syscall"
)

// State is a change in a child's state that a wait has seen.
type State struct {
	pid    int
	status syscall.WaitStatus
	rusage syscall.Rusage
}

// Pid is the child's process id.
func (s *State) Pid() int { return s.pid }

// Exited tells whether the child has ended by exit.
func (s *State) Exited() bool { return s.status.Exited() }

// ExitCode is the exit status, or -1 if the child did not end by exit.
func (s *State) ExitCode() int { return s.status.ExitStatus() }

// Success tells whether the child ended by exit with status 0.
func (s *State) Success() bool { return s.status.Exited() && s.status.ExitStatus() == 0 }

// Signaled tells whether a signal ended the child.
func (s *State) Signaled() bool { return s.status.Signaled() }

// Signal is the signal that ended or stopped the child, or -1.
func (s *State) Signal() syscall.Signal {
	if s.status.Stopped() {
		return s.status.StopSignal()
	}
	return s.status.Signal()
}

// CoreDump tells whether the child, ended by a signal, dumped core.
func (s *State) CoreDump() bool { return s.status.CoreDump() }

// Stopped tells whether the child was stopped by a signal.
func (s *State) Stopped() bool { return s.status.Stopped() }

// Continued tells whether the child was continued.
func (s *State) Continued() bool { return s.status.Continued() }

// Sys is the status as wait4(2) gives it.
func (s *State) Sys() syscall.WaitStatus { return s.status }

// Rusage is what the child and the children that it waited for have used
// (getrusage(2)).
func (s *State) Rusage() *syscall.Rusage { return &s.rusage }

func (s *State) String() string {
	switch w := s.status; {
	case w.Exited():
		return fmt.Sprintf("exit status %d", w.ExitStatus())
	case w.Signaled() && w.CoreDump():
		return fmt.Sprintf("signal: %v (core dumped)", w.Signal())
	case w.Signaled():
		return fmt.Sprintf("signal: %v", w.Signal())
	case w.Stopped():
		return fmt.Sprintf("stopped: %v", w.StopSignal())
	default:
		return "continued"
	}
}
