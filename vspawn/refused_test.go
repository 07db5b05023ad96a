//go:build linux

package vspawn

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// Where a sandbox does not let the parent ask for what it has to know, a start
// fails, and says so: it gives no child something else than was asked for.
func TestRefusedAnswers(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	old := *full
	old.ClearSighand = false
	set := Caps(1)
	for _, c := range []struct {
		attr Attr
		call uint32
		want Error
	}{
		{Attr{Bounding: &set}, unix.SYS_PRCTL, Error{Step: "prctl", Field: "Bounding", Object: "PR_CAPBSET_READ"}},
		{Attr{Ambient: set, Cloneflags: unix.CLONE_NEWUSER}, unix.SYS_PRCTL, Error{Step: "prctl", Field: "Ambient", Object: "PR_CAPBSET_READ"}},
		{Attr{Capabilities: &Capabilities{}, UID: Ptr(0)}, unix.SYS_PRCTL, Error{Step: "prctl", Field: "Capabilities", Object: "PR_GET_NO_NEW_PRIVS"}},
		{Attr{Scheduler: &Scheduler{}}, unix.SYS_GETPRIORITY, Error{Step: "getpriority", Field: "Scheduler"}},
		{Attr{}, unix.SYS_RT_SIGACTION, Error{Step: "rt_sigaction", Field: "DefaultSignals", Object: "SIGHUP"}},
	} {
		for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSYS} {
			var err error
			onFilteredThread(t, filter(unix.SECCOMP_RET_ERRNO|uint32(errno), c.call), func() {
				var plan *Plan
				if plan, err = Compile("/x", nil, &c.attr); err == nil {
					_, err = plan.load(&old)
				}
			})
			want := c.want
			want.Err = errno
			var e *Error
			if !errors.As(err, &e) || e.Hint == "" {
				t.Errorf("%s: got %v", want.Error(), err)
				continue
			}
			got := *e
			got.Hint = ""
			if got != want {
				t.Errorf("got %v, want %v", &got, &want)
			}
		}
	}
}

// onFilteredThread runs f on a thread with a filter, which ends with it.
func onFilteredThread(t *testing.T, list []BPF, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and not unlocked
		if unix.Gettid() == unix.Getpid() {
			onFilteredThread(t, list, f) // the main thread, which does not end, is taken now
			runtime.UnlockOSThread()
			return
		}
		for _, s := range filterFrom("", list) {
			if _, _, errno := unix.RawSyscall6(s.Nr, s.Args[0], s.Args[1], s.Args[2], 0, 0, 0); errno != 0 {
				t.Error(s.Name, ": ", errno)
			}
		}
		f()
	}()
	<-done
}
