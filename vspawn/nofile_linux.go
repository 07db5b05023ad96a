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
	var now unix.Rlimit
	return raised && (unix.Getrlimit(unix.RLIMIT_NOFILE, &now) != nil || now.Max == was.Hard && now.Cur == was.Hard-1)
}

// ifRaised is the address of the limit, for prlimit64, or NULL, which sets none.
func (a arg) ifRaised() uintptr {
	if raisedNofile() {
		return a.val
	}
	return 0
}

// raisesNofile tells whether it takes a privilege to set r.
func raisesNofile(r Rlimit) bool {
	var now unix.Rlimit
	return unix.Getrlimit(unix.RLIMIT_NOFILE, &now) == nil && r.Hard > now.Max
}
