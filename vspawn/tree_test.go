//go:build linux

package vspawn

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

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
