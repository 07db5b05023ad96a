//go:build linux

package tests

import (
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// A start that fails says so, also when a signal is pending that will end the
// child: the signals are let through behind all that can fail but the filter of
// system calls and the exec. Let through earlier, the signal would hide that
// Pdeathsig could not be set, say: the start would look like that of a program
// which was killed.
func TestFailureBeforeSignal(t *testing.T) {
	helper.SkipEmulated(t, "memory shared by vfork")
	path := exits(t, 0)[0]
	for _, place := range []string{"Setsid", "UID", "Files.Path", "Capabilities", "Pdeathsig", "Ptrace", "Rlimits.NOFILE", "SignalMask", ""} {
		t.Run(place, func(t *testing.T) {
			g := newGate(t, "Cgroup")
			calls := append(g.Calls, vspawn.Syscall{Before: place, Name: "close", Nr: unix.SYS_CLOSE, Args: [6]uintptr{^uintptr(0)}})
			var others sync.WaitGroup
			others.Go(func() {
				defer g.letPass(t)
				signalAtGate(t, g, unix.SIGTERM)
			})
			p, err := vspawn.Start(t.Context(), path, nil, &vspawn.Attr{Pdeathsig: unix.SIGKILL, Syscalls: calls})
			g.over()
			others.Wait()
			if err == nil {
				p.Wait(t.Context())
			}
			var failed *vspawn.Error
			if !errors.As(err, &failed) || failed.Step != "close" || failed.Err != unix.EBADF {
				t.Errorf("got %v, want that close has failed", err)
			}
		})
	}
}
