package vspawn

import (
	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn/internal/nofile"
)

// nofileAtStart is the limit of descriptors that the process was started with,
// and whether the runtime has raised it. That sets the soft limit one below the
// hard one, to tell its own doing from others' (package syscall, rlimit.go).
func nofileAtStart() (was Rlimit, raised bool) {
	was = Rlimit{Resource: unix.RLIMIT_NOFILE, Soft: nofile.Start.Soft, Hard: nofile.Start.Hard}
	return was, was.Hard != 0 && was.Soft < was.Hard-1
}

// raisedNofile tells whether the limit is still the one that the runtime has
// raised. Where a sandbox does not let it be read, nobody is thought to have set another.
func raisedNofile() bool {
	was, raised := nofileAtStart()
	if !raised {
		return false
	}
	now, err := currentNofile()
	return err != nil || now.Max == was.Hard && now.Cur == was.Hard-1
}

// currentNofile is the limit in force, by the call that a child sets it with: a sandbox may
// have no other.
func currentNofile() (now unix.Rlimit, err error) {
	if err = unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &now); err != nil {
		err = unix.Getrlimit(unix.RLIMIT_NOFILE, &now)
	}
	return now, err
}

// raisesNofile tells whether it takes a privilege to set r.
func raisesNofile(r Rlimit) bool {
	now, err := currentNofile()
	return err == nil && r.Hard > now.Max
}
