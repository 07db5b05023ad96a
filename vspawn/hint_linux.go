package vspawn

import (
	"os"

	"golang.org/x/sys/unix"
)

// onError is an op's explain: what may be done about one error.
func onError(err error, hint string) func(*Error) {
	return func(e *Error) {
		if e.Err == err {
			e.Hint = hint
		}
	}
}

// explainExec says what execve's error means.
func explainExec(e *Error) {
	switch e.Err {
	case unix.ENOENT:
		if _, err := os.Stat(e.Object); err == nil {
			e.Hint = "the file is there: its interpreter (the #! line, or the dynamic linker) may not be"
		}
	case unix.ENOEXEC:
		e.Hint = "not a program for this machine, or a script without a #! line"
		if f := features.found.Load(); f != nil && !f.MMU {
			e.Hint = "not a program for this machine, which has no MMU and takes only those that run anywhere in memory, or a script without a #! line"
		}
	}
}
