//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// subCgroup makes a cgroup in another, for the length of the test.
func subCgroup(t *testing.T, above *os.File, name string) *os.File {
	path := filepath.Join(above.Name(), name)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		if _, err := os.Stat(path); err == nil { // a test may have removed it
			removeCgroup(t, path)
		}
	})
	return f
}

// A cgroup that does not take the child is named as such, not for the flags of
// the namespaces beside it.
func TestFailingCgroup(t *testing.T) {
	dir, _ := cgroup(t)
	if !newEnough(5, 7) {
		t.Skip("there is no CLONE_INTO_CGROUP (Linux 5.7)")
	}
	write := func(t *testing.T, dir, file, text string) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		setUp func(t *testing.T) *os.File
		errno unix.Errno
	}{
		{"removed", func(t *testing.T) *os.File {
			f := subCgroup(t, dir, "removed")
			if err := os.Remove(f.Name()); err != nil {
				t.Fatal(err)
			}
			return f
		}, unix.ENOENT},
		{"not valid", func(t *testing.T) *os.File {
			above := subCgroup(t, dir, "threaded")
			write(t, subCgroup(t, above, "one").Name(), "cgroup.type", "threaded")
			return subCgroup(t, above, "other")
		}, unix.EOPNOTSUPP},
		{"with controllers below", func(t *testing.T) *os.File {
			// These leave a cgroup with processes as it is (cgroup-v2.rst, Threads).
			threaded := []string{"cpu", "cpuset", "perf_event", "pids"}
			controllers := func(dir string) []string {
				all := strings.Fields(text(filepath.Join(dir, "cgroup.controllers")))
				return slices.DeleteFunc(all, func(c string) bool { return slices.Contains(threaded, c) })
			}
			give := func(dir, controller string) {
				write(t, dir, "cgroup.subtree_control", "+"+controller)
				t.Cleanup(func() { write(t, dir, "cgroup.subtree_control", "-"+controller) })
			}
			root := filepath.Dir(dir.Name())
			if len(controllers(dir.Name())) == 0 {
				all := controllers(root)
				if os.Getenv("VSPAWN_TARGET") == "" || len(all) == 0 {
					t.Skipf("no cgroup controller for domains is given to those below the root, which has %q", all)
				}
				give(root, all[0]) // the guest is ours alone
			}
			f := subCgroup(t, dir, "busy")
			c := controllers(dir.Name())[0]
			give(dir.Name(), c)
			give(f.Name(), c)
			return f
		}, unix.EBUSY},
	} {
		t.Run(c.name, func(t *testing.T) {
			fd := int(c.setUp(t).Fd())
			for _, flags := range []uintptr{0, unix.CLONE_NEWUTS} {
				if flags != 0 {
					needCapability(t, unix.CAP_SYS_ADMIN, "make a namespace")
				}
				_, err := vspawn.Start(t.Context(), "/x", nil, &vspawn.Attr{Cgroup: vspawn.FD(fd), Cloneflags: flags})
				checkError(t, err, vspawn.Error{Step: "clone3", Field: "Cgroup", Object: strconv.Itoa(fd), Err: c.errno})
				checkHint(t, err)
			}
		})
	}
	t.Run("of another", func(t *testing.T) {
		needCapability(t, unix.CAP_SETUID, "become another")
		const fd = 3
		p, err := start(t, cgroupHelper.Argv(strconv.Itoa(fd)), &vspawn.Attr{UID: vspawn.Ptr(1000), GID: vspawn.Ptr(1000),
			Files: []vspawn.File{{Child: 2, Parent: vspawn.FD(2)}, {Child: fd, Parent: dir}}})
		if err != nil {
			t.Fatal(err)
		}
		wait(t, p, "exit status 0")
	})
}

func checkHint(t *testing.T, err error) {
	t.Helper()
	var e *vspawn.Error
	if errors.As(err, &e) && e.Hint == "" {
		t.Errorf("%v: no hint", err)
	}
}

// cgroupHelper starts a child in a cgroup in which it may not.
var cgroupHelper = helper.New("cgroup", func(args []string) int {
	fd, _ := strconv.Atoi(args[0])
	_, err := vspawn.Start(noContext, "/x", nil, &vspawn.Attr{Cgroup: vspawn.FD(fd)})
	var e *vspawn.Error
	if !errors.As(err, &e) || e.Field != "Cgroup" || e.Err != unix.EACCES || e.Hint == "" {
		fmt.Fprintln(os.Stderr, "got ", err)
		return 1
	}
	return 0
})

// A start for which there is no descriptor left does not blame the namespaces.
func TestFailingWant(t *testing.T) {
	helper.SkipEmulated(t, "clone that needs a descriptor")
	f, err := vspawn.Features()
	if err != nil || !f.Clone3 {
		t.Skip("there is no clone3 (Linux 5.3)")
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	plan, err := vspawn.Compile("/x", nil, &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, err = plan.Start(t.Context())
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if errors.Is(err, unix.EPERM) {
		t.Skip("user namespaces are forbidden: ", err)
	}
	checkError(t, err, vspawn.Error{Step: "clone3", Err: unix.EMFILE})
}
