//go:build linux

package tests

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/seccomp"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// needTree skips where there are no pidfds, or no processes to be seen.
func needTree(t *testing.T) {
	t.Helper()
	helper.SkipEmulated(t, "subreaper")
	if f, err := vspawn.Features(); err != nil || !f.Pidfd {
		t.Skip("there are no pidfds (Linux 5.4)")
	}
}

// All that the child has started is killed, and what that has; others are not, be they of
// the same process group.
func TestKillTree(t *testing.T) {
	once(t)
	needTree(t)
	for _, c := range []struct {
		name string
		attr vspawn.Attr
		n    int
		args []string
	}{
		{"alone", vspawn.Attr{}, 1, []string{"chain", "0"}},
		{"wide", vspawn.Attr{}, 13, []string{"wide", "3", "2"}},
		{"deep", vspawn.Attr{}, 13, []string{"chain", "12"}},
		{"orphan in the session", vspawn.Attr{Setsid: true}, 2, []string{"orphan"}},
		{"bound to its pidfd", vspawn.Attr{DieWithParent: true, NoNewPrivs: true}, 4, []string{"wide", "3", "1"}},
		{"stopped", vspawn.Attr{}, 4, []string{"chain", "3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			beside := waiting(t, &vspawn.Attr{})
			g := grow(t, c.attr, c.n, c.args...)
			if c.name == "stopped" {
				g.Signal(unix.SIGSTOP)
			}
			g.dead(t)
			if s, err := beside.Poll(); s != nil || err != nil {
				t.Errorf("a stranger has ended: %v, %v", s, err)
			}
		})
	}
}

// So it is while the tree grows.
func TestKillTreeGrowing(t *testing.T) {
	once(t)
	needTree(t)
	for i := range helper.Rounds(10) {
		grow(t, vspawn.Attr{}, 1+i, "chain", "40").dead(t)
		grow(t, vspawn.Attr{}, 1, "wide", "2", "4").dead(t)
	}
}

// One whose parent has ended, and that is in no session of the child's, is out of reach,
// unless it is in the child's PID namespace, or in its cgroup.
func TestKillTreeAway(t *testing.T) {
	once(t)
	needTree(t)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	t.Run("out of reach", func(t *testing.T) {
		g := grow(t, vspawn.Attr{Setsid: true}, 2, "away")
		if err := g.KillTree(); err != nil {
			t.Error(err)
		}
		wait(t, g.Process, "signal: killed")
		left := children(t, os.Getpid())
		if len(left) != 1 {
			t.Fatalf("%v are left, want the one that is away", left)
		}
		unix.Kill(left[0], unix.SIGKILL)
		unix.Wait4(left[0], nil, 0, nil)
	})
	t.Run("PID namespace", func(t *testing.T) {
		needUserNamespaces(t)
		grow(t, vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID}, 2, "away").dead(t)
	})
	for _, name := range []string{"cgroup", "cgroup below", "cgroup closed"} {
		t.Run(name, func(t *testing.T) {
			dir, _ := cgroup(t)
			if !newEnough(5, 7) {
				t.Skip("there is no CLONE_INTO_CGROUP (Linux 5.7)")
			}
			var other *grove
			if name == "cgroup below" {
				other = grow(t, vspawn.Attr{Cgroup: subCgroup(t, dir, "below")}, 1, "chain", "0")
			}
			own, err := os.Open(dir.Name())
			if err != nil {
				t.Fatal(err)
			}
			g := grow(t, vspawn.Attr{Cgroup: own}, 2, "away")
			if name == "cgroup closed" {
				own.Close() // the child's Process has its own
			}
			defer own.Close()
			beside := waiting(t, &vspawn.Attr{})
			g.dead(t)
			if other != nil {
				wait(t, other.Process, "signal: killed")
			}
			for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				orphans := slices.DeleteFunc(children(t, os.Getpid()), func(pid int) bool { return pid == beside.Pid() })
				if len(orphans) == 0 {
					break
				}
				for _, pid := range orphans {
					unix.Wait4(pid, nil, unix.WNOHANG, nil)
				}
				if time.Now().After(end) {
					t.Fatalf("%v are left", orphans)
				}
			}
			if s, err := beside.Poll(); s != nil || err != nil {
				t.Errorf("a stranger has ended: %v, %v", s, err)
			}
		})
	}
}

// In a cgroup that is this process's too it is not what is killed.
func TestKillTreeOwnCgroup(t *testing.T) {
	needTree(t)
	dir, _ := cgroup(t)
	if !newEnough(5, 7) {
		t.Skip("there is no CLONE_INTO_CGROUP (Linux 5.7)")
	}
	p, err := start(t, ownCgroupHelper.Argv(), &vspawn.Attr{Cgroup: dir,
		Files: []vspawn.File{{Child: 0, Path: os.DevNull}, {Child: 2, Parent: vspawn.FD(2)}, {Child: 3, Parent: dir}}})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

var ownCgroupHelper = helper.New("own cgroup", func([]string) int {
	argv := growsHelper.Argv("chain", "2")
	r, w := rawPipe()
	in, _ := rawPipe()
	p, err := vspawn.Start(noContext, program(argv), argv, &vspawn.Attr{Cgroup: vspawn.FD(3),
		Files: []vspawn.File{{Child: 0, Parent: in}, {Child: 1, Parent: w}, {Child: 2, Parent: vspawn.FD(2)}}})
	if err == nil {
		w.Close()
		_, err = io.ReadFull(r, make([]byte, 3))
	}
	err = errors.Join(err, p.KillTree())
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if s, waitErr := p.Wait(noContext); err != nil || waitErr != nil || s.Signal() != unix.SIGKILL {
		fmt.Fprintln(os.Stderr, s, err, waitErr)
		return 1
	}
	return 0
}, growsHelper)

// Without pidfds no other process can be hit for sure, so that the child alone is, and the
// caller is told.
func TestKillTreeWithoutPidfds(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	p, err := start(t, numberedHelper.Argv(tiny.Sleep(t)), &vspawn.Attr{})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

var numberedHelper = helper.New("numbered", func(args []string) int {
	if err := seccomp.Deny(unix.ENOSYS, unix.SYS_CLONE3, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL); err != nil {
		panic(err)
	}
	p, err := vspawn.Start(noContext, args[0], nil, &vspawn.Attr{})
	if err != nil {
		panic(err)
	}
	err = p.KillTree()
	var e *vspawn.Error
	if !errors.As(err, &e) || e.Err != unix.ENOSYS || !strings.Contains(e.Hint, "the child alone") {
		fmt.Fprintln(os.Stderr, "got ", err)
		return 1
	}
	if s, err := p.Wait(noContext); err != nil || s.Signal() != unix.SIGKILL {
		fmt.Fprintln(os.Stderr, s, err)
		return 1
	}
	return 0
})
