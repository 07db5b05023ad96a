// Package usage is the error that the caller can mend, and what the commands
// make of it: one kind and one exit status, wherever the mistake was found.
package usage

import (
	"errors"
	"fmt"
)

// An Error is a mistake of the caller's, or something that this machine lacks: it
// says what, and what to do.
type Error struct{ Err error }

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the error underneath.
func (e *Error) Unwrap() error { return e.Err }

// Errorf is fmt.Errorf for an Error.
func Errorf(format string, args ...any) error {
	return &Error{fmt.Errorf(format, args...)}
}

// Is tells whether there is an Error in err's tree: whoever adds where it
// happened leaves it the caller's to mend.
func Is(err error) bool { return errors.As(err, new(*Error)) }

// The exit statuses of a command.
const (
	StatusFailed = 1 // something that should work did not
	StatusUsage  = 2 // the caller can mend it
)

// Status is the exit status for err.
func Status(err error) int {
	switch {
	case err == nil:
		return 0
	case Is(err):
		return StatusUsage
	}
	return StatusFailed
}
