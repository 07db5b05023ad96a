//go:build linux

package tests

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// A threadChange is something that a goroutine does to the thread that it is
// locked to, and what a child of that thread answers then.
type threadChange struct {
	name   string
	need   func(t *testing.T)
	change func(t *testing.T) error
	call   tiny.Call
	want   int
}

var threadChanges = []threadChange{
	{"nice value", func(*testing.T) {}, func(*testing.T) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, 7) },
		tiny.Call{Nr: unix.SYS_GETPRIORITY, Args: []any{unix.PRIO_PROCESS, 0}}, 20 - 7},
	{"filter of system calls", func(*testing.T) {}, func(t *testing.T) error {
		for _, c := range filterInChild(t, deny(unix.SYS_GETSID, errFilter)) {
			if _, _, errno := unix.Syscall6(c.Nr, c.Args[0], c.Args[1], c.Args[2], c.Args[3], c.Args[4], c.Args[5]); errno != 0 {
				return errno
			}
		}
		return nil
	}, tiny.Call{Nr: unix.SYS_GETSID, Args: []any{0}}, -int(errFilter)},
	{"Landlock", func(t *testing.T) { needLandlock(t, 1) }, landlockThread,
		tiny.Call{Nr: unix.SYS_OPENAT, Args: []any{unix.AT_FDCWD, "/", unix.O_RDONLY | unix.O_DIRECTORY, 0}}, -int(unix.EACCES)},
	{"host name in a new namespace", func(t *testing.T) { needCapability(t, unix.CAP_SYS_ADMIN, "make a namespace") }, func(*testing.T) error {
		return errors.Join(unix.Unshare(unix.CLONE_NEWUTS), unix.Sethostname([]byte("other")))
	}, tiny.Call{Nr: unix.SYS_UNAME, Args: []any{make([]byte, 400)}}, 0},
	{"signal mask", func(*testing.T) {}, func(*testing.T) error {
		return unix.PthreadSigmask(unix.SIG_BLOCK, &unix.Sigset_t{Val: [16]uint64{setOf(unix.SIGUSR2)}}, nil)
	}, tiny.Call{Nr: unix.SYS_RT_SIGPROCMASK, Args: []any{unix.SIG_BLOCK, 0, make([]byte, 8), 8}}, 0},
}

// landlockThread keeps the calling thread from reading directories.
func landlockThread(*testing.T) error {
	attr := &[1]uint64{unix.LANDLOCK_ACCESS_FS_READ_DIR}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, asmtest.Addr(attr), 8, 0)
	runtime.KeepAlive(attr)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(fd))
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// What a goroutine that is locked to its thread has done to that thread holds for
// its children, with Pdeathsig too: none of them leaves a sandbox. Such a child
// gets the signal when the thread ends.
func TestPdeathsigOfChangedThread(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	for _, c := range threadChanges {
		t.Run(c.name, func(t *testing.T) {
			c.need(t)
			puppet := tiny.New(t)
			argv := tiny.Argv(t)
			started, end := make(chan error), make(chan bool)
			var p *vspawn.Process
			go onSecondThread(func() {
				runtime.LockOSThread() // once more than it is unlocked, so the thread ends
				err := c.change(t)
				if err == nil {
					p, err = vspawn.Start(t.Context(), argv[0], argv, &vspawn.Attr{Pdeathsig: unix.SIGKILL,
						Files: []vspawn.File{{Child: 2, Parent: vspawn.FD(2)}, {Child: tiny.FD, Parent: puppet.Child}}})
				}
				started <- err
				<-end
			})
			if err := <-started; err != nil {
				close(end)
				t.Fatal(err)
			}
			call := c.call
			if err := puppet.Do(&call); err != nil {
				t.Error(err)
			}
			equal(t, "the child's answer", call.Result, c.want)
			switch c.name {
			case "host name in a new namespace":
				const nodename = 65 // its place in struct utsname
				equal(t, "host name", unix.ByteSliceToString(call.Args[0].([]byte)[nodename:]), "other")
			case "signal mask":
				equal(t, "signal mask", call.Args[2].([]byte)[1], byte(setOf(unix.SIGUSR2)>>8))
			}
			close(end)
			endsBy(t, p, "signal: killed")
		})
	}
}

// With Ptrace the tracer is the thread that has called Start, with Pdeathsig as
// well.
func TestPtraceWithPdeathsig(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr := &vspawn.Attr{Ptrace: true, Pdeathsig: unix.SIGTERM}
	p, err := vspawn.Start(t.Context(), tiny.Exit(t, 3), nil, attr)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkStopped(t.Context(), p, attr); err != nil {
		t.Error(err)
	}
	if err := unix.PtraceDetach(p.Pid()); err != nil {
		t.Error(err)
	}
	endsBy(t, p, "exit status 3")
}
