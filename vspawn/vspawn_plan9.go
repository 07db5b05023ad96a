package vspawn

import "syscall"

// Attr has no fields on this system, whose package syscall has not their types.
type Attr struct{}

// signalNumber is what package syscall has of the signals' names here.
type signalNumber = syscall.Note

// A State can't be had on this system.
type State struct{}

func (*State) Pid() int             { return -1 }
func (*State) Exited() bool         { return false }
func (*State) ExitCode() int        { return -1 }
func (*State) Success() bool        { return false }
func (*State) Signaled() bool       { return false }
func (*State) Signal() signalNumber { return "" }
func (*State) CoreDump() bool       { return false }
func (*State) Stopped() bool        { return false }
func (*State) Continued() bool      { return false }
func (*State) String() string       { return "" }
