package vspawn

// A Change is a set of changes of a child's state, for [Process.WaitFor]: Exited,
// Stopped and Continued, or'd together.
type Change int

// The numbers are those of waitid(2), WEXITED and so on.
const (
	Stopped   Change = 1 << (iota + 1) // it was stopped, by a signal or by a tracer
	Exited                             // it has ended, by exit or by a signal
	Continued                          // it was continued, by SIGCONT

	allChanges = Exited | Stopped | Continued
)
