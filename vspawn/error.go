package vspawn

import (
	"fmt"
	"strconv"
)

// An Error is a system call that failed: of a start, in the child or in the parent,
// after which nothing of the child is left; or of what is done with a child later,
// "kill" for [Process.Signal], "waitid" for the waits, and so on. It unwraps to its
// cause, so that errors.Is(err, fs.ErrNotExist) tells of a program that is not there.
type Error struct {
	Step   string // the system call: "clone3", "dup3", "setgroups", "execve"; "start" where none was reached
	Field  string // the field of Attr that it was for, if any
	Object string // what it was applied to: a path, a descriptor, an id
	Err    error  // the cause, a syscall.Errno where a system call failed
	Hint   string // what may be done about it, if known
}

func (e *Error) Error() string {
	s := "vspawn: " + e.Step
	if e.Object != "" {
		s += " " + e.Object
	}
	if e.Field != "" {
		s += " (Attr." + e.Field + ")"
	}
	s += ": " + e.Err.Error()
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// An AttrError is an input that was refused, before anything was started: by [Compile],
// and so by [Start], by [Plan.For], and by [Process.WaitFor].
type AttrError struct {
	Field  string // the field of Attr, with its index if it is a list, or "path", "argv", or "changes" of WaitFor
	Reason string
}

func (e *AttrError) Error() string { return "vspawn: " + e.Field + ": " + e.Reason }

func index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

func refuse(field, format string, args ...any) error {
	return &AttrError{Field: field, Reason: fmt.Sprintf(format, args...)}
}
