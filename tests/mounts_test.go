//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

var namespaceKinds = []spawnKind{
	{"Setns", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		pid, links := inOthers(t)
		attr := &vspawn.Attr{UID: vspawn.Ptr(1000)} // who may not: it comes before
		for _, kind := range []string{"uts", "net"} {
			fd := openFile(t, fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
			attr.Setns = append(attr.Setns, vspawn.Namespace{FD: vspawn.FD(fd)})
		}
		return attr, func(t *testing.T, s *state) { checkLinks(t, s, links, "uts", "net") }
	}},
	{"Setns of a process", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		if f, err := vspawn.Features(); err != nil || !f.Pidfd || !newEnough(5, 8) {
			t.Skip("setns takes no pidfd, or there is none")
		}
		pid, links := inOthers(t)
		attr := &vspawn.Attr{Setns: []vspawn.Namespace{
			{Pid: pid, Flags: unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNS}}}
		return attr, func(t *testing.T, s *state) { checkLinks(t, s, links, "uts", "ipc", "mnt") }
	}},
	{"Unshareflags", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		pid, links := inOthers(t)
		fd := openFile(t, fmt.Sprintf("/proc/%d/ns/uts", pid))
		attr := &vspawn.Attr{UID: vspawn.Ptr(1000), Unshareflags: unix.CLONE_NEWIPC | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP,
			Setns: []vspawn.Namespace{{FD: vspawn.FD(fd)}}}
		return attr, func(t *testing.T, s *state) {
			own := ownState()
			checkLinks(t, s, links, "uts")
			for _, kind := range []string{"ipc", "mnt", "net", "cgroup"} {
				if l := s.Namespaces[kind]; l == links[kind] || l == own.Namespaces[kind] {
					t.Errorf("the child's %s namespace is not new: %s", kind, l)
				}
			}
		}
	}},
	{"Unshareflags for the child's children", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SYS_ADMIN, "make namespaces")
		helper.SkipEmulated(t, "namespaces")
		helper.SkipNoMMU(t, "there are no time namespaces")
		own := ownState()
		return &vspawn.Attr{Unshareflags: unix.CLONE_NEWUTS | unix.CLONE_NEWTIME}, func(t *testing.T, s *state) {
			if s.Namespaces["time"] == own.Namespaces["time"] && s.Namespaces["time_for_children"] == own.Namespaces["time_for_children"] {
				t.Errorf("no time namespace is new: %v", s.Namespaces)
			}
		}
	}},
	{"Unshareflags of a user namespace, and Hostname", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needUserNamespaces(t)
		own, err := os.Readlink("/proc/self/ns/user")
		if err != nil {
			t.Fatal(err)
		}
		return &vspawn.Attr{Unshareflags: unix.CLONE_NEWUSER | unix.CLONE_NEWUTS, Hostname: "box"}, func(t *testing.T, s *state) {
			equal(t, "map", s.UIDMap, "")
			equal(t, "host name", s.Hostname, "box")
			if s.Namespaces["user"] == own {
				t.Error("the user namespace is the parent's")
			}
		}
	}},
	{"Hostname", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SYS_ADMIN, "make namespaces")
		helper.SkipEmulated(t, "namespaces")
		name := strings.Repeat("n", 64)
		return &vspawn.Attr{Cloneflags: unix.CLONE_NEWUTS, Hostname: name, UID: vspawn.Ptr(1000)},
			func(t *testing.T, s *state) {
				equal(t, "host name", s.Hostname, name)
			}
	}},
	{"Hostname in a new user namespace", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needUserNamespaces(t)
		attr := &vspawn.Attr{Cloneflags: unix.CLONE_NEWUTS | unix.CLONE_NEWUSER, Hostname: "box",
			UIDMap: []vspawn.IDMap{{Outside: os.Getuid(), Size: 1}}}
		return attr, func(t *testing.T, s *state) { equal(t, "host name", s.Hostname, "box") }
	}},
	{"Mounts", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SYS_ADMIN, "mount")
		helper.SkipEmulated(t, "namespaces")
		dir := realTemp(t)
		attr := &vspawn.Attr{
			Cloneflags: unix.CLONE_NEWNS,
			Mounts: []vspawn.Mount{
				{Source: "first", Target: dir, Type: "tmpfs", Flags: unix.MS_NOSUID, Data: "size=1m,mode=711"},
				{Source: "/proc/self", Target: dir, Flags: unix.MS_BIND}, // over it
			},
			UID: vspawn.Ptr(1000),
		}
		return attr, func(t *testing.T, s *state) {
			over := mountsAt(s.Mounts, dir)
			options := "rw,size=1024k,mode=711"
			if !helper.MMU() {
				options = "rw,mode=711" // tmpfs is a name of ramfs, which has no size
			}
			if len(over) != 2 || !strings.Contains(over[0], " - tmpfs first "+options) || !strings.Contains(over[0], "nosuid") ||
				!strings.Contains(over[1], " - proc ") {
				t.Errorf("at %s: %q", dir, over)
			}
		}
	}},
	{"Mounts in a namespace that is entered", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		pid, _ := inOthers(t)
		fd := openFile(t, fmt.Sprintf("/proc/%d/ns/mnt", pid))
		dir := realTemp(t)
		attr := &vspawn.Attr{Setns: []vspawn.Namespace{{FD: vspawn.FD(fd)}},
			Mounts: []vspawn.Mount{{Source: "there", Target: dir, Type: "tmpfs"}}}
		return attr, func(t *testing.T, s *state) {
			there := strings.Split(text(fmt.Sprintf("/proc/%d/mountinfo", pid)), "\n")
			equal(t, "number of mounts seen from there", len(mountsAt(there, dir)), 1)
			equal(t, "number of mounts seen from here", len(mountsAt(strings.Split(text("/proc/self/mountinfo"), "\n"), dir)), 0)
		}
	}},
	{"PivotRoot", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		attr, root := pivot(t)
		return attr, func(t *testing.T, s *state) {
			equal(t, "root", s.Root, statInode(t, root))
			equal(t, "directory", s.Dir, "/")
			var points []string
			for _, m := range s.Mounts {
				if m != "" {
					points = append(points, strings.Fields(m)[4])
				}
			}
			equal(t, "mount points", points, []string{"/", "/proc"})
		}
	}},
	{"PivotRoot and a relative Dir", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		attr, root := pivot(t)
		attr.Dir = "proc"
		return attr, func(t *testing.T, s *state) {
			equal(t, "root", s.Root, statInode(t, root))
			equal(t, "directory", s.Dir, "/proc")
		}
	}},
}

// inOthers is a process in other namespaces than ours.
func inOthers(t *testing.T) (pid int, links map[string]string) {
	t.Helper()
	needCapability(t, unix.CAP_SYS_ADMIN, "make namespaces")
	helper.SkipEmulated(t, "namespaces")
	pid = waiting(t, &vspawn.Attr{Cloneflags: unix.CLONE_NEWUTS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC |
		unix.CLONE_NEWNS}).Pid()
	links = map[string]string{}
	for _, kind := range []string{"uts", "net", "ipc", "mnt"} {
		l, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
		if err != nil {
			t.Fatal(err)
		}
		links[kind] = l
	}
	return pid, links
}

// checkLinks checks that the child is in namespaces of another process, and in
// none but those.
func checkLinks(t *testing.T, s *state, links map[string]string, kinds ...string) {
	t.Helper()
	for kind, link := range links {
		if in := s.Namespaces[kind] == link; in != slices.Contains(kinds, kind) {
			t.Errorf("the child is in the %s namespace: %t", kind, in)
		}
	}
}

// mountsAt are the lines of a mountinfo for a mount point.
func mountsAt(lines []string, point string) (at []string) {
	for _, l := range lines {
		if f := strings.Fields(l); len(f) > 4 && f[4] == point {
			at = append(at, l)
		}
	}
	return at
}

// The kernel would cut off Data behind a page, its NUL included: that is
// refused, and what just fits is all there.
func TestMountDataTooLong(t *testing.T) {
	const option = ",mode=711" // the last: it is there if nothing is cut off
	most := os.Getpagesize() - 1
	data := strings.Repeat("mode=700,", most)[:9*((most-len(option))/9)]
	data = strings.TrimSuffix(data, ",") + option
	data = strings.Repeat(",", most-len(data)) + data
	attr := &vspawn.Attr{Cloneflags: unix.CLONE_NEWNS,
		Mounts: []vspawn.Mount{{Source: "x", Target: realTemp(t), Type: "tmpfs", Data: "," + data}}}
	_, err := vspawn.Compile("/x", nil, attr)
	var refused *vspawn.AttrError
	if !errors.As(err, &refused) || refused.Field != "Mounts[0]" {
		t.Errorf("a page of Data: got %v", err)
	}
	needCapability(t, unix.CAP_SYS_ADMIN, "mount")
	helper.SkipEmulated(t, "namespaces")
	attr.Mounts[0].Data = data
	at := mountsAt(report(t, attr).Mounts, attr.Mounts[0].Target)
	if len(at) != 1 || !strings.Contains(at[0], "mode=711") {
		t.Errorf("mounted: %q", at)
	}
}

// pivot makes a root for PivotRoot. A guest's own root is one that can't be
// moved, so the child first goes to another: the rest is as ever.
func pivot(t *testing.T) (attr *vspawn.Attr, root string) {
	t.Helper()
	needCapability(t, unix.CAP_SYS_ADMIN, "mount")
	old := newRoot(t)
	if err := os.Mkdir(filepath.Join(old, "sub/proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	putPuppet(t, filepath.Join(old, "sub"))
	str := func(s string) uintptr {
		b := append([]byte(s), 0)
		return pin(t, &b[0])
	}
	dir, top := str(old), str("/")
	before := func(name string, nr uintptr, args ...uintptr) vspawn.Syscall {
		s := vspawn.Syscall{Before: "Mounts", Name: name, Nr: nr}
		copy(s.Args[:], args)
		return s
	}
	attr = &vspawn.Attr{
		Cloneflags: unix.CLONE_NEWNS,
		Syscalls: []vspawn.Syscall{
			before("mount", unix.SYS_MOUNT, 0, top, 0, unix.MS_REC|unix.MS_PRIVATE),
			before("mount", unix.SYS_MOUNT, dir, dir, 0, unix.MS_BIND),
			before("chroot", unix.SYS_CHROOT, dir),
			before("chdir", unix.SYS_CHDIR, top),
		},
		Mounts: []vspawn.Mount{
			{Source: "/sub", Target: "/sub", Flags: unix.MS_BIND},
			{Source: "proc", Target: "/sub/proc", Type: "proc"},
		},
		PivotRoot: "/sub",
	}
	return attr, filepath.Join(old, "sub")
}

// With PrivateMounts no mount that the child makes later appears in the
// parent's namespace; without, those below a shared mount do.
func TestPrivateMounts(t *testing.T) {
	shareHelper.Argv() // also where this is skipped
	mountHelper.Argv() // which shareHelper uses
	needCapability(t, unix.CAP_SYS_ADMIN, "mount")
	helper.SkipEmulated(t, "namespaces")
	dir := realTemp(t)
	for _, private := range []bool{false, true} {
		t.Run(fmt.Sprint(private), func(t *testing.T) {
			p, err := start(t, shareHelper.Argv(dir, fmt.Sprint(private)), &vspawn.Attr{
				Cloneflags: unix.CLONE_NEWNS,
				Mounts:     []vspawn.Mount{{Source: "shared", Target: dir, Type: "tmpfs"}, {Target: dir, Flags: unix.MS_SHARED}},
			})
			if err != nil {
				t.Fatal(err)
			}
			wait(t, p, "exit status 0")
		})
	}
}

// shareHelper has a child mount something below a shared mount, in another
// namespace, and looks whether it can see it.
var shareHelper = helper.New("share", func(args []string) int {
	dir, private := filepath.Join(args[0], "dir"), args[1] == "true"
	argv := mountHelper.Argv(dir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		panic(err)
	}
	status := relay(vspawn.Start(noContext, program(argv), argv,
		&vspawn.Attr{Cloneflags: unix.CLONE_NEWNS, PrivateMounts: private}))
	seen := len(mountsAt(strings.Split(text("/proc/self/mountinfo"), "\n"), dir)) > 0
	if status != 0 || seen == private {
		fmt.Fprintf(os.Stderr, "status %d, the child's mount is seen: %t\n", status, seen)
		return 1
	}
	return 0
})

var mountHelper = helper.New("mount", func(args []string) int {
	if err := unix.Mount("below", args[0], "tmpfs", 0, ""); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
})
