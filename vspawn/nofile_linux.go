package vspawn

import (
	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn/internal/nofile"
)

// raisedNofile tells whether the limit of descriptors is still the one that
// the runtime has raised, and what it was before. The runtime sets the soft
// limit one below the hard one, to tell its own doing from others' (package
// syscall, rlimit.go).
func raisedNofile() (was Rlimit, raised bool) {
	var now unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &now) != nil {
		return Rlimit{}, false
	}
	was = Rlimit{Resource: unix.RLIMIT_NOFILE, Soft: nofile.Start.Soft, Hard: nofile.Start.Hard}
	raised = was.Hard != 0 && was.Soft < was.Hard-1 && now.Max == was.Hard && now.Cur == was.Hard-1
	return was, raised
}

// raisesNofile tells whether it takes a privilege to set r.
func raisesNofile(r Rlimit) bool {
	var now unix.Rlimit
	return unix.Getrlimit(unix.RLIMIT_NOFILE, &now) == nil && r.Hard > now.Max
}
