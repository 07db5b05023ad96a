//go:build !linux

package vspawn

import (
	"context"
	"os"
)

// Compile answers [errors.ErrUnsupported] on this system.
func Compile(path string, argv []string, attr *Attr) (*Plan, error) { return nil, errUnsupported }

// Features answers [errors.ErrUnsupported] on this system.
func Features() (FeatureSet, error) { return FeatureSet{}, errUnsupported }

// A Plan can't be had on this system.
type Plan struct{}

// For answers [errors.ErrUnsupported] on this system.
func (*Plan) For(path string, argv, env []string) (*Plan, error) { return nil, errUnsupported }

// Start answers [errors.ErrUnsupported] on this system.
func (*Plan) Start(ctx context.Context) (*Process, error) { return nil, errUnsupported }

// Run answers [errors.ErrUnsupported] on this system.
func (*Plan) Run(ctx context.Context) (*State, error) { return nil, errUnsupported }

func (*Plan) String() string { return "" }

// A Process can't be had on this system.
type Process struct{}

// Pid is -1 on this system.
func (*Process) Pid() int { return -1 }

// Wait answers [errors.ErrUnsupported] on this system.
func (*Process) Wait(ctx context.Context) (*State, error) { return nil, errUnsupported }

// Poll answers [errors.ErrUnsupported] on this system.
func (*Process) Poll() (*State, error) { return nil, errUnsupported }

// WaitFor answers [errors.ErrUnsupported] on this system.
func (*Process) WaitFor(ctx context.Context, changes Change) (*State, error) {
	return nil, errUnsupported
}

// WaitExit answers [errors.ErrUnsupported] on this system.
func (*Process) WaitExit(ctx context.Context) error { return errUnsupported }

// Signal answers [os.ErrProcessDone] on this system.
func (*Process) Signal(s signalNumber) error { return os.ErrProcessDone }

// SignalGroup answers [os.ErrProcessDone] on this system.
func (*Process) SignalGroup(s signalNumber) error { return os.ErrProcessDone }

// KillTree answers [os.ErrProcessDone] on this system.
func (*Process) KillTree() error { return os.ErrProcessDone }

// Kill answers [os.ErrProcessDone] on this system.
func (*Process) Kill() error { return os.ErrProcessDone }

// Close does nothing on this system.
func (*Process) Close() error { return nil }

// Pidfd answers [errors.ErrUnsupported] on this system.
func (*Process) Pidfd() (int, error) { return -1, errUnsupported }

// KillCgroup answers [errors.ErrUnsupported] on this system.
func KillCgroup(dir Descriptor) error { return errUnsupported }

// A Reaper can't be had on this system.
type Reaper struct{ Orphan func(*State) }

// Run answers [errors.ErrUnsupported] on this system.
func (*Reaper) Run(ctx context.Context) error { return errUnsupported }

// Subreaper answers [errors.ErrUnsupported] on this system.
func Subreaper() error { return errUnsupported }

// Reserve answers [errors.ErrUnsupported] on this system.
func Reserve(n int) error { return errUnsupported }

// SetDumpable answers [errors.ErrUnsupported] on this system.
func SetDumpable(flag int) error { return errUnsupported }
