//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// Before Linux 5.14 there is no cgroup.kill, and what is in a cgroup and below it is killed
// one after the other: all of it, and nothing else.
func TestKillListed(t *testing.T) {
	dir := testCgroup(t)
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(below) })
	begin := func(attr *Attr) *Process {
		p, err := Start(t.Context(), tiny.Sleep(t), nil, attr)
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
			t.Skip("there is no CLONE_INTO_CGROUP (Linux 5.7): ", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	in := func(dir string) *Process {
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return begin(&Attr{Cgroup: f})
	}
	all := []*Process{in(dir), in(dir), in(below)}
	stranger := begin(&Attr{})
	if all[0].pidfd < 0 {
		t.Skip("there are no pidfds (Linux 5.4)")
	}
	if err := all[0].killListed(); err != nil {
		t.Error(err)
	}
	for _, p := range all {
		if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL {
			t.Errorf("it ended by %v, %v", s, err)
		}
	}
	if s, err := stranger.Poll(); s != nil || err != nil {
		t.Errorf("a stranger has ended: %v, %v", s, err)
	}
	stranger.Kill()
	stranger.Wait(t.Context())
}

// testCgroup makes a cgroup, for the length of the test.
func testCgroup(t *testing.T) string {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
			continue
		}
		dir, err := os.MkdirTemp(root, "vspawn-listed-")
		if err != nil {
			t.Skip("no cgroup can be made: ", err)
		}
		t.Cleanup(func() { os.Remove(dir) })
		return dir
	}
	t.Skip("no cgroup2 file system at /sys/fs/cgroup")
	return ""
}

// killerShort starts the program of its argument, kills its tree with no descriptor to spare, and says
// what that gives.
var killerShort = helper.New("killerShort", func(args []string) int {
	for _, attr := range []*Attr{{Pdeathsig: unix.SIGKILL}, {Pdeathsig: unix.SIGKILL, Setsid: true}} {
		p, err := Start(context.Background(), args[0], args, attr)
		if err != nil {
			return complain(err)
		}
		var was unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			return complain(err)
		}
		set := func(soft uint64) {
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: soft, Max: was.Max}); err != nil {
				panic(err)
			}
		}
		set(3)
		err = p.KillTree()
		set(was.Cur)
		var e *Error
		if !errors.As(err, &e) || e.Err != unix.EMFILE {
			return complain(fmt.Errorf("KillTree gives %v", err))
		}
		if s, err := p.Wait(context.Background()); err != nil || s.Signal() != unix.SIGKILL {
			return complain(fmt.Errorf("the child ended by %v, %v", s, err))
		}
	}
	return 0
})

// Where there is no descriptor to look for the tree by, the child is killed all the same,
// and the error says that others may be left.
func TestKillTreeShort(t *testing.T) {
	helper.SkipEmulated(t, "limits of its own")
	argv := killerShort.Argv(tiny.Sleep(t))
	found, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	if !found.Pidfd {
		t.Skip("there are no pidfds (Linux 5.4)")
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.WaitDelay = time.Minute // its child has its output, and may outlive it if it fails
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Of a child that someone else has reaped KillTree says so, as Kill does.
func TestKillTreeOfTheReaped(t *testing.T) {
	p := startArgv(t, nil, exits(t, 0))
	if p.pidfd < 0 {
		unix.Wait4(p.Pid(), nil, 0, nil)
		t.Skip("there are no pidfds (Linux 5.4)")
	}
	if _, err := unix.Wait4(p.Pid(), nil, 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.KillTree(); err != os.ErrProcessDone {
		t.Errorf("it gives %v", err)
	}
	p.Close()
}

// withoutPidfd starts the program of its argument on a kernel without clone3, where there is
// no descriptor left for a pidfd.
var withoutPidfd = helper.New("withoutPidfd", func(args []string) int {
	r, w, err := os.Pipe() // the runtime makes its poller for that, which later it could not
	if err != nil {
		return complain(err)
	}
	r.Close()
	w.Close()
	found, err := Features()
	if err != nil {
		return complain(err)
	}
	found.Clone3, found.ClearSighand = false, false
	features.found.Store(&found)
	for range 20 {
		p, err := startFull(args)
		if err != nil {
			return complain(err)
		}
		if p.unopened == nil { // a look at /proc had a number when the free ones were counted
			err = errors.Join(p.Kill(), ended(p, nil))
		} else {
			err = errors.Join(tellsOfPidfd(p), ended(p, nil))
		}
		switch {
		case err != nil:
			return complain(err)
		case p.unopened != nil:
			return 0
		}
	}
	return complain(errors.New("there always was a pidfd"))
})

// startFull starts a program while there is no descriptor to be had.
func startFull(argv []string) (p *Process, err error) {
	fullErr := withoutDescriptors(func() { p, err = Start(context.Background(), argv[0], argv, nil) })
	return p, errors.Join(err, fullErr)
}

// tellsOfPidfd checks what a child without one says, and kills it.
func tellsOfPidfd(p *Process) error {
	_, ofPidfd := p.Pidfd()
	for _, err := range []error{ofPidfd, p.KillTree()} {
		var e *Error
		if !errors.As(err, &e) || e.Step != "pidfd_open" || e.Err != unix.EMFILE {
			return fmt.Errorf("got %v", err)
		}
	}
	return nil
}

// Where a pidfd was not to be had, what takes one says why, and the child is killed all the
// same.
func TestWithoutPidfd(t *testing.T) {
	helper.SkipEmulated(t, "limits of its own")
	argv := withoutPidfd.Argv(tiny.Sleep(t))
	if found, err := Features(); err != nil || !found.Pidfd {
		t.Skip("there are no pidfds (Linux 5.4): ", err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.WaitDelay = time.Minute // its child has its output, and may outlive it if it fails
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
