//go:build linux

package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// unsharedKinds are children of a thread whose children are born in a new PID namespace.
var unsharedKinds = map[string]vspawn.Attr{
	"plain":              {},
	"Pdeathsig":          {Pdeathsig: unix.SIGKILL},
	"Pdeathsig, again":   {Pdeathsig: unix.SIGKILL},
	"StartStopped":       {StartStopped: true},
	"Ptrace":             {Ptrace: true},
	"Pdeathsig, stopped": {Pdeathsig: unix.SIGKILL, StartStopped: true},
}

// unsharedHelper starts its first child of all on such a thread, and another beside it.
// Its arguments are the kind and the program.
var unsharedHelper = helper.New("unshared", func(args []string) int {
	attr := unsharedKinds[args[0]]
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	onSecondThread(func() { err = startUnshared(ctx, args[1], &attr, args[0] == "Pdeathsig, again") })
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
})

func startUnshared(ctx context.Context, program string, attr *vspawn.Attr, before bool) error {
	runtime.LockOSThread() // once more than it is unlocked, so the thread ends
	plan, err := vspawn.Compile(program, nil, attr)
	if err != nil {
		return err
	}
	if before { // where the parent has a number
		p, err := plan.Start(ctx)
		if err != nil {
			return fmt.Errorf("before: %w", err)
		}
		defer p.Kill()
	}
	if err := unix.Unshare(unix.CLONE_NEWPID); err != nil {
		return err
	}
	for n := range 2 {
		p, err := plan.Start(ctx)
		if err != nil {
			return fmt.Errorf("child %d: %w", n+1, err)
		}
		defer p.Kill()
		if attr.Ptrace || attr.StartStopped {
			if err := checkStopped(ctx, p, attr); err != nil {
				return err
			}
		}
		in, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", p.Pid()))
		own, ownErr := os.Readlink("/proc/self/ns/pid")
		if err != nil || ownErr != nil || in == own {
			return fmt.Errorf("child %d is in %s %v, the parent in %s %v", n+1, in, err, own, ownErr)
		}
	}
	return nil
}

// A process that Setns names has another number there, or none: its number may be the
// child's own, and what the child is to change in another namespace the parent's.
func TestSetnsPidInNewPIDNamespace(t *testing.T) {
	helper.SkipEmulated(t, "namespaces")
	needCapability(t, unix.CAP_SYS_ADMIN, "make a namespace")
	attr := &vspawn.Attr{Setns: []vspawn.Namespace{{Pid: 1, Flags: unix.CLONE_NEWUTS}}}
	failed := make(chan error)
	go onSecondThread(func() {
		runtime.LockOSThread() // once more than it is unlocked, so the thread ends
		err := unix.Unshare(unix.CLONE_NEWPID)
		if err == nil {
			var p *vspawn.Process
			if p, err = vspawn.Start(t.Context(), tiny.Exit(t, 3), nil, attr); err == nil {
				p.Wait(t.Context())
			}
		}
		failed <- err
	})
	err := <-failed
	var e *vspawn.Error
	if !errors.As(err, &e) || e.Step != "pidfd_open" || e.Field != "Setns[0]" || e.Err != unix.EINVAL {
		t.Errorf("got %v, want a refusal", err)
	}
}

// A thread that has called unshare for a new PID namespace gets its children there, the
// first of them as its init: no other is made before, by which it would be over. The
// parent has no number there by which a child could look for it.
func TestThreadOfNewPIDNamespace(t *testing.T) {
	unsharedHelper.Argv() // also where this is skipped
	helper.SkipEmulated(t, "namespaces")
	needCapability(t, unix.CAP_SYS_ADMIN, "make a namespace")
	for kind := range unsharedKinds {
		t.Run(kind, func(t *testing.T) {
			cmd := unsharedHelper.Command(kind, tiny.Sleep(t))
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
		})
	}
}
