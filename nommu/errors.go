package nommu

import "fmt"

// InputError is an error that the caller can mend: a flag that can't be had, a
// program that needs cgo, a file that is no program for this kernel, a Go
// release with other text in its runtime. A command answers it with exit status
// 2.
type InputError struct{ Err error }

// Error implements error.
func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap gives the error underneath.
func (e *InputError) Unwrap() error { return e.Err }

func inputErrorf(format string, args ...any) error {
	return &InputError{fmt.Errorf("nommu: "+format, args...)}
}
