package vspawn

import "context"

// Attr has no fields on this system, whose package syscall has no signals.
type Attr struct{}

// Compile answers [errors.ErrUnsupported] on this system.
func Compile(path string, argv []string, attr *Attr) (*Plan, error) { return nil, errUnsupported }

// Features answers [errors.ErrUnsupported] on this system.
func Features() (FeatureSet, error) { return FeatureSet{}, errUnsupported }

// A Plan can't be had on this system.
type Plan struct{}

func (*Plan) String() string                              { return "" }
func (*Plan) Start(ctx context.Context) (*Process, error) { return nil, errUnsupported }

// A Process can't be had on this system.
type Process struct{}

func (*Process) Pid() int                                 { return -1 }
func (*Process) Wait(ctx context.Context) (*State, error) { return nil, errUnsupported }
func (*Process) Close() error                             { return nil }

// A State can't be had on this system.
type State struct{}

func (*State) String() string { return "" }
