//go:build !linux

package exec

import "os"

// What goes by vfork compiles on every system, and is called on Linux alone.

func (*Cmd) start() error { panic("exec: no vfork on this system") }

func (*Cmd) reap() (*os.ProcessState, error) { panic("exec: no vfork on this system") }
