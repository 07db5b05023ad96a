//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// needUserNamespaces skips a test where there can be no new user namespace.
func needUserNamespaces(t *testing.T) {
	t.Helper()
	if err := noUserNamespaces(); err != nil {
		t.Skip("no user namespaces here: ", err)
	}
}

// noUserNamespaces tells why there can be no new user namespace.
func noUserNamespaces() error {
	_, err := vspawn.Start(noContext, "/no/such/program", nil, &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER})
	var e *vspawn.Error
	if errors.As(err, &e) && e.Step != "execve" {
		return err
	}
	return nil
}

// A child is in the new namespaces that were asked for, and otherwise in its
// parent's.
func TestNamespaces(t *testing.T) {
	needCapability(t, unix.CAP_SYS_ADMIN, "make namespaces")
	helper.SkipEmulated(t, "namespaces")
	own := ownState()
	all := map[string]uintptr{"mnt": unix.CLONE_NEWNS, "uts": unix.CLONE_NEWUTS, "ipc": unix.CLONE_NEWIPC,
		"net": unix.CLONE_NEWNET, "pid": unix.CLONE_NEWPID, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME}
	check := func(t *testing.T, flags uintptr) {
		s := report(t, &vspawn.Attr{Cloneflags: flags})
		for file, link := range own.Namespaces {
			kind := strings.TrimSuffix(file, "_for_children")
			if fresh := s.Namespaces[file] != link; fresh != (flags&all[kind] != 0) {
				t.Errorf("the parent's %s namespace is %s, the child's %s", file, link, s.Namespaces[file])
			}
		}
	}
	var together uintptr
	for kind, flag := range all {
		if kind == "time" && !helper.MMU() {
			t.Run(kind, func(t *testing.T) { helper.SkipNoMMU(t, "there are no time namespaces") })
			continue
		}
		if _, err := os.Stat("/proc/self/ns/" + kind); err != nil {
			t.Errorf("the kernel has no %s namespaces: %v", kind, err)
			continue
		}
		if f, err := vspawn.Features(); flag == unix.CLONE_NEWTIME && (err != nil || !f.Clone3) {
			_, err := vspawn.Start(t.Context(), "/x", nil, &vspawn.Attr{Cloneflags: flag})
			checkError(t, err, vspawn.Error{Step: "clone", Field: "Cloneflags", Object: "CLONE_NEWTIME", Err: unix.ENOSYS})
			continue
		}
		together |= flag
		t.Run(kind, func(t *testing.T) { check(t, flag) })
	}
	t.Run("together", func(t *testing.T) { check(t, together) })
}

// A child in a new PID namespace is pid 1 there, without a parent, in all its
// threads.
func TestPIDNamespace(t *testing.T) {
	helper.SkipEmulated(t, "namespaces")
	needCapability(t, unix.CAP_SYS_ADMIN, "make a PID namespace")
	checkFirst(t, &vspawn.Attr{Cloneflags: unix.CLONE_NEWPID})
}

func checkFirst(t *testing.T, attr *vspawn.Attr) *state {
	t.Helper()
	s, err := reportGo(t, attr, func(p *vspawn.Process) {
		pids := statusField(fmt.Sprint(p.Pid()), "NSpid")
		if want := fmt.Sprintf("%d\t1", p.Pid()); !strings.HasSuffix(pids, want) {
			t.Errorf("NSpid of the child is %q, want %q", pids, want)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "pid and ppid", [2]int{s.Pid, s.Ppid}, [2]int{1, 0})
	equal(t, "main thread", s.Tid, 1)
	equal(t, "second thread's pid and ppid", [2]int{s.Second.Pid, s.Second.Ppid}, [2]int{1, 0})
	return s
}

// A child in a new user namespace, whose maps the parent writes while it
// waits, is uid 0 there. Who has no privilege may do so with his own id.
func TestUserNamespace(t *testing.T) {
	needUserNamespaces(t)
	uid, gid := os.Getuid(), os.Getgid()
	attr := vspawn.Attr{
		Cloneflags: unix.CLONE_NEWUSER,
		UIDMap:     []vspawn.IDMap{{Inside: 0, Outside: uid, Size: 1}},
		GIDMap:     []vspawn.IDMap{{Inside: 0, Outside: gid, Size: 1}},
	}
	t.Run("own id", func(t *testing.T) {
		s := report(t, &attr)
		equal(t, "users", s.UID, [3]int{})
		equal(t, "groups", s.GID, [3]int{})
		equal(t, "uid_map", s.UIDMap, fmt.Sprintf("0 %d 1", uid))
		equal(t, "gid_map", s.GIDMap, fmt.Sprintf("0 %d 1", gid))
		equal(t, "setgroups", s.Setgroups, "deny")
	})
	t.Run("with all other namespaces", func(t *testing.T) {
		a := attr
		a.Cloneflags |= unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWPID |
			unix.CLONE_NEWCGROUP
		equal(t, "users", checkFirst(t, &a).UID, [3]int{})
	})
	t.Run("only a user", func(t *testing.T) {
		a := attr
		a.GIDMap = nil
		s := report(t, &a)
		equal(t, "users", s.UID, [3]int{})
		equal(t, "gid_map", s.GIDMap, "")
	})
	t.Run("own id, taken again", func(t *testing.T) {
		a := attr
		a.UID, a.GID, a.KeepGroups = vspawn.Ptr(0), vspawn.Ptr(0), true
		s := report(t, &a)
		equal(t, "users", s.UID, [3]int{})
		equal(t, "groups", s.GID, [3]int{})
	})
	t.Run("groups that are denied", func(t *testing.T) {
		a := attr
		a.Groups = []int{0}
		_, err := vspawn.Start(t.Context(), "/x", nil, &a)
		checkError(t, err, vspawn.Error{Step: "setgroups", Field: "Groups", Object: "[0]", Err: unix.EPERM})
		if err == nil || !strings.Contains(err.Error(), "KeepGroups") {
			t.Errorf("no hint at KeepGroups in %v", err)
		}
	})
	t.Run("many ids", func(t *testing.T) {
		needCapability(t, unix.CAP_SETUID, "map others' ids")
		a := attr
		a.UIDMap = []vspawn.IDMap{{Inside: 0, Outside: 100_000, Size: 1000}, {Inside: 1000, Outside: 0, Size: 1}}
		a.GIDMap = []vspawn.IDMap{{Inside: 0, Outside: 200_000, Size: 1000}}
		a.AllowSetgroups = true
		a.UID, a.GID, a.Groups = vspawn.Ptr(5), vspawn.Ptr(6), []int{7}
		s := report(t, &a)
		equal(t, "users", s.UID, [3]int{5, 5, 5})
		equal(t, "groups", s.GID, [3]int{6, 6, 6})
		equal(t, "supplementary groups", s.Groups, []int{7})
		equal(t, "uid_map", s.UIDMap, "0 100000 1000 1000 0 1")
		equal(t, "setgroups", s.Setgroups, "allow")
	})
}
