//go:build !linux && !plan9

package vspawn

import (
	"context"
	"os"
	"syscall"
)

// Compile answers [errors.ErrUnsupported] on this system.
func Compile(path string, argv []string, attr *Attr) (*Plan, error) { return nil, errUnsupported }

// Features answers [errors.ErrUnsupported] on this system.
func Features() (FeatureSet, error) { return FeatureSet{}, errUnsupported }

// A Plan can't be had on this system.
type Plan struct{}

func (*Plan) String() string                                { return "" }
func (*Plan) For(string, []string, []string) (*Plan, error) { return nil, errUnsupported }
func (*Plan) Start(ctx context.Context) (*Process, error)   { return nil, errUnsupported }

// A Process can't be had on this system.
type Process struct{}

// Changes of a child's state that WaitFor can wait for.
const (
	Exited = 1 << iota
	Stopped
	Continued
)

func (*Process) Pid() int                                           { return -1 }
func (*Process) Wait(ctx context.Context) (*State, error)           { return nil, errUnsupported }
func (*Process) WaitExit(ctx context.Context) error                 { return errUnsupported }
func (*Process) WaitFor(ctx context.Context, c int) (*State, error) { return nil, errUnsupported }
func (*Process) Signal(s syscall.Signal) error                      { return os.ErrProcessDone }
func (*Process) Kill() error                                        { return os.ErrProcessDone }
func (*Process) Close() error                                       { return nil }

// Poll answers [errors.ErrUnsupported] on this system.
func (*Process) Poll() (*State, error) { return nil, errUnsupported }

// SignalGroup answers [os.ErrProcessDone] on this system.
func (*Process) SignalGroup(s syscall.Signal) error { return os.ErrProcessDone }

// Pidfd answers [errors.ErrUnsupported] on this system.
func (*Process) Pidfd() (int, error) { return -1, errUnsupported }

// KillCgroup answers [errors.ErrUnsupported] on this system.
func KillCgroup(dir int) error { return errUnsupported }

// A Reaper can't be had on this system.
type Reaper struct{ Orphan func(*State) }

// Run answers [errors.ErrUnsupported] on this system.
func (*Reaper) Run(ctx context.Context) error { return errUnsupported }

// Subreaper answers [errors.ErrUnsupported] on this system.
func Subreaper() error { return errUnsupported }

// Reserve answers [errors.ErrUnsupported] on this system.
func Reserve(n int) error { return errUnsupported }
