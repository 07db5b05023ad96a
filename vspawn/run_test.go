//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// Run gives the child's state, whatever it is, and whatever the kernel lacks.
func TestRun(t *testing.T) {
	for _, k := range lesserKernels {
		withFeatures(t, k.name, k.change, func(t *testing.T) {
			argv := exits(t, 3)
			s, err := Run(t.Context(), argv[0], argv, nil)
			if err != nil || !s.Exited() || s.ExitCode() != 3 || s.Pid() <= 0 {
				t.Errorf("%v, %v", s, err)
			}
			s, err = Run(t.Context(), "/no/such/program", nil, nil)
			if !errors.Is(err, unix.ENOENT) || s != nil {
				t.Errorf("%v, %v", s, err)
			}
		})
	}
	if _, err := Run(t.Context(), "", nil, nil); !errors.As(err, new(*AttrError)) {
		t.Errorf("without a program: %v", err)
	}
	if _, err := Run(t.Context(), "/x", nil, &Attr{Nice: Ptr(99)}); !errors.As(err, new(*AttrError)) {
		t.Errorf("of a bad attribute: %v", err)
	}
}

// A child that dies with its parent is reaped by the kernel: Run has its state all the same.
func TestRunDieWithParent(t *testing.T) {
	helper.SkipEmulated(t, "prctl of its own thread")
	argv := exits(t, 3)
	s, err := Run(t.Context(), argv[0], argv, &Attr{DieWithParent: true, NoNewPrivs: true})
	if err != nil || s.ExitCode() != 3 {
		t.Errorf("%v, %v", s, err)
	}
}

// When its context ends the child is killed, and reaped: at once, and after a while.
func TestRunCancel(t *testing.T) {
	argv := helper.Emulate(tiny.Sleep(t))
	enough := errors.New("enough")
	const ms = time.Millisecond
	for _, after := range []time.Duration{0, ms / 10, ms, 5 * ms, 50 * ms} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(after, func() { cancel(enough) })
		s, err := Run(ctx, argv[0], argv, nil)
		if !errors.Is(err, enough) {
			t.Errorf("after %v: %v, %v", after, s, err)
		}
		if s != nil && (!s.Signaled() || s.Signal() != unix.SIGKILL) { // nil: before its exec
			t.Errorf("after %v it ended by %v", after, s)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if s, err := Run(ctx, argv[0], argv, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, %v", s, err)
	}
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %v", err)
	}
}

// One that has ended by itself was not cancelled, even if its context is over by then.
func TestRunFaster(t *testing.T) {
	p := startArgv(t, nil, exits(t, 3))
	soon(t, "its end", func() bool { return procState(p.pid) == 'Z' })
	s, err := p.stop(errors.New("enough"), p.waitEnd)
	if err != nil || s.ExitCode() != 3 {
		t.Errorf("%v, %v", s, err)
	}
}

// Who has reaped the child has its state, and Run says so.
func TestRunStolen(t *testing.T) {
	p := startSleep(t, nil)
	unix.Kill(p.pid, unix.SIGKILL)
	if _, err := unix.Wait4(p.pid, nil, 0, nil); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	if s, err := p.stop(enough, p.waitEnd); !errors.Is(err, enough) || !errors.Is(err, unix.ECHILD) || s != nil {
		t.Errorf("%v, %v", s, err)
	}
}

// A child that may not be killed goes on, Run comes back, and it is reaped in the end.
func TestRunUnkillable(t *testing.T) {
	helper.SkipEmulated(t, "credentials of a thread")
	if os.Getuid() != 0 {
		t.Skip("not root: there is nobody whose child may not be killed")
	}
	enough := errors.New("enough")
	for name, wait := range map[string]func(p *Process) (*State, error){
		"stop": func(p *Process) (*State, error) { return p.stop(enough, p.waitEnd) },
		"waitid": func(p *Process) (*State, error) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(enough)
			return p.waitByWaitid(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startSleep(t, &Attr{UID: Ptr(1000)})
			onPowerlessThread(t, func() {
				if s, err := wait(p); !errors.Is(err, enough) || !errors.Is(err, unix.EPERM) || s != nil {
					t.Errorf("%v, %v", s, err)
				}
			})
			if err := unix.Kill(p.pid, 0); err != nil {
				t.Errorf("it is gone: %v", err)
			}
			unix.Kill(p.pid, unix.SIGKILL)
			soon(t, "its reaping", func() bool { return unix.Kill(p.pid, 0) == unix.ESRCH })
		})
	}
}

// onPowerlessThread runs f on a thread without capabilities, which ends with it.
func onPowerlessThread(t *testing.T, f func()) {
	onFilteredThread(t, filter(unix.SECCOMP_RET_ALLOW, unix.SYS_GETPID), func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Error("capset: ", err)
			return
		}
		f()
	})
}

// Many run at once, and each has its own child's state.
func TestRunMany(t *testing.T) {
	programs := [][]string{exits(t, 0), exits(t, 1), exits(t, 2), exits(t, 3)}
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			want := i % len(programs)
			plan, err := Compile(programs[want][0], programs[want], nil)
			if err != nil {
				t.Error(err)
				return
			}
			for range helper.Rounds(50) {
				if s, err := plan.Run(t.Context()); err != nil || s.ExitCode() != want {
					t.Errorf("%v, %v, want %d", s, err, want)
				}
			}
		})
	}
	group.Wait()
}

// A child that is killed while another process traces it leaves Run at once, and is reaped
// when that lets go of it.
func TestRunTraced(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	p := startSleep(t, nil)
	letGo := traceIt(t, p)
	enough := errors.New("enough")
	if s, err := p.stop(enough, p.waitEnd); s != nil || err != enough {
		t.Errorf("%v, %v", s, err)
	}
	letGo()
	soon(t, "its reaping", func() bool { return unix.Kill(p.pid, 0) == unix.ESRCH })
}

// fullRun runs a child for which the poller has no descriptor.
var fullRun = helper.New("full-run", func(argv []string) int {
	if _, err := Features(); err != nil {
		return complain(err)
	}
	for limit := 20 * time.Millisecond; ; limit *= 2 { // it may end before the exec
		first, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return complain(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		var s *State
		var runErr error
		err = withoutDescriptors(func() {
			unix.Close(first) // one, which the pidfd takes
			s, runErr = Run(ctx, argv[0], argv, nil)
		})
		switch {
		case err != nil:
			return complain(err)
		case !errors.Is(runErr, context.DeadlineExceeded), s != nil && s.Signal() != unix.SIGKILL:
			return complain(fmt.Errorf("%v, %v", s, runErr))
		case s != nil:
			return 0
		}
	}
})

func TestRunWithoutDescriptors(t *testing.T) {
	helper.SkipEmulated(t, "limits of its own")
	argv := fullRun.Argv(tiny.Sleep(t))
	if f, err := Features(); err != nil || !f.Pidfd {
		t.Skip("there are no pidfds (Linux 5.4): ", err)
	}
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
