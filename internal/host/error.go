// Package host is what this machine has and lacks: programs, and locks between
// the processes that run on it.
package host

import "fmt"

// A UsageError is a mistake of the caller's, or something that this machine
// lacks: it says what, and what to do. Commands answer it with exit status 2.
type UsageError struct{ Err error }

// Error implements error.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap gives the error underneath.
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef is fmt.Errorf for a UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}
