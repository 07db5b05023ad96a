//go:build linux

package vspawn

import (
	"context"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/seccomp"
)

// Only a descriptor that is not open is said to be none: where fcntl is refused for
// another reason the child's own call tells.
func TestRefusedFcntl(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	onFilteredThread(t, filter(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM), unix.SYS_FCNTL), func() {
		if _, err := Compile("/x", nil, nil); err != nil {
			t.Error(err)
		}
	})
}

// Before Linux 5.11 descriptors are closed by fcntl: where that is refused there is no child
// that has them all.
func TestRefusedClosing(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	path := exits(t, 0)[0]
	less := func(f *FeatureSet) { f.CloseRangeCloexec, f.CloseRangeUnshare = false, false }
	withFeatures(t, "no close_range", less, func(t *testing.T) {
		onFilteredThread(t, filter(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM), unix.SYS_FCNTL), func() {
			_, err := Start(context.Background(), path, nil, nil)
			var e *Error
			if !errors.As(err, &e) || e.Step != "fcntl" || e.Err != unix.EPERM || e.Hint == "" {
				t.Errorf("got %v", err)
			}
		})
	})
}

// Where the dumpable flag can't be asked for, or not be turned off, there is no child
// that others may look at.
func TestRefusedDumpable(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	for _, option := range []uint32{unix.PR_GET_DUMPABLE, unix.PR_SET_DUMPABLE} {
		const first = 16 // the offset of a call's first argument, on a little-endian machine
		refuse := []BPF{
			{Op: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
			{Op: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_PRCTL, Jf: 3},
			{Op: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: first},
			{Op: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: option, Jf: 1},
			{Op: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
			{Op: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}
		d := &dumpableFlag{}
		was := d.get()
		if was != 1 {
			t.Skip("the flag is not on")
		}
		onFilteredThread(t, refuse, func() {
			h := d.enter(&Plan{compiled: &compiled{credentials: true}}, full)
			d.leave(h)
			var e *Error
			if !errors.As(h.refused, &e) || e.Step != "prctl" || e.Err != unix.EPERM || h.off || d.off != 0 {
				t.Errorf("option %d: %+v", option, h)
			}
		})
		if now := d.get(); now != was {
			t.Errorf("the flag was %d, and is %d", was, now)
		}
	}
}

// The child that finds out what the kernel has is no zombie where waitid is refused.
func TestRefusedWaitid(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	endsWell(t, startHelper(t, nil, refusedWaitid))
}

var refusedWaitid = helper.New("refused waitid", func([]string) int {
	if err := seccomp.Deny(unix.EPERM, unix.SYS_WAITID); err != nil {
		return complain(err)
	}
	if _, err := Features(); err != nil {
		return complain(err)
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil); err != unix.ECHILD {
		return complain("a child is left: ", pid, err)
	}
	return 0
})

// Id maps are written where the runtime's poller does not take the socket by which the
// child waits for them.
func TestMapsWithoutPoller(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	_, err := Start(t.Context(), "/no/such/program", nil, &Attr{Cloneflags: unix.CLONE_NEWUSER})
	var e *Error
	if errors.As(err, &e) && e.Step != "execve" {
		t.Skip("no user namespaces here: ", err)
	}
	endsWell(t, startHelper(t, nil, unpolledMaps, exits(t, 0)[0]))
}

var unpolledMaps = helper.New("unpolled maps", func(args []string) int {
	if r, w, err := os.Pipe(); err == nil {
		r.Close() // the poller itself is there
		w.Close()
	}
	if err := seccomp.Deny(unix.ENOSPC, unix.SYS_EPOLL_CTL); err != nil {
		return complain(err)
	}
	ids := []IDMap{{Inside: 0, Outside: os.Getuid(), Size: 1}}
	p, err := Start(context.Background(), args[0], nil, &Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: ids})
	if err != nil {
		return complain(err)
	}
	if _, err := unix.Wait4(p.Pid(), nil, 0, nil); err != nil {
		return complain(err)
	}
	return 0
})

// A descriptor that the child could not keep is told from one that was never open.
func TestKeptDescriptorMissing(t *testing.T) {
	in := &instance{ops: []*op{
		{call: sysWrite, args: []arg{{kind: argSpare, val: 70}}},
		{call: sysWrite, args: []arg{dec(70)}},
	}}
	in.prog.Steps = 8 // any but none
	for i, want := range []bool{true, false} {
		err := in.stepError(in.prog.Steps+uintptr(i)*reflect.TypeFor[asm.Step]().Size(), unix.EBADF)
		if got := strings.Contains(err.Error(), "could not keep"); got != want {
			t.Errorf("operation %d: %v", i, err)
		}
	}
}

func endsWell(t *testing.T, p *Process) {
	t.Helper()
	if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
		t.Errorf("it ended by %v, %v", s, err)
	}
}
