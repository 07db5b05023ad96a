//go:build linux

package tests

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// privilegePairs are about who the child is, and what it may do.
var privilegePairs = []pairEntry{
	{field: "UID", needs: "root", attr: plain(vspawn.Attr{UID: vspawn.Ptr(1000)}),
		check: func(_ *pairStage, s *state) bool { return s.UID == [3]int{1000, 1000, 1000} }},
	{field: "GID", needs: "root", attr: plain(vspawn.Attr{GID: vspawn.Ptr(1001)}),
		check: func(_ *pairStage, s *state) bool { return s.GID == [3]int{1001, 1001, 1001} }},
	{field: "Groups", needs: "root", attr: plain(vspawn.Attr{Groups: []int{5, 8}}),
		check: func(_ *pairStage, s *state) bool { return slices.Equal(s.Groups, []int{5, 8}) }},
	{field: "KeepGroups", needs: "root", attr: func(p *pairStage) vspawn.Attr {
		group := vspawn.Ptr(uint32(someGroup))
		return vspawn.Attr{UID: vspawn.Ptr(1000), KeepGroups: true, Syscalls: []vspawn.Syscall{
			{Before: "Rlimits", Name: "setgroups", Nr: unix.SYS_SETGROUPS, Args: [6]uintptr{1, pin(p.t, group)}}}}
	}, check: func(_ *pairStage, s *state) bool { return slices.Equal(s.Groups, []int{someGroup}) }},
	{field: "Capabilities", needs: "root", attr: plain(vspawn.Attr{Securebits: vspawn.Ptr(secbitNoroot),
		Capabilities: &vspawn.Capabilities{Permitted: vspawn.Caps(someCap, otherCap), Inheritable: vspawn.Caps(someCap)}}),
		check: func(_ *pairStage, s *state) bool { return s.Privileges.Inheritable == hexCaps(someCap) }},
	{field: "Ambient", needs: "root", attr: plain(vspawn.Attr{Ambient: vspawn.Caps(someCap)}),
		check: func(_ *pairStage, s *state) bool { return s.Privileges.Ambient == hexCaps(someCap) }},
	{field: "Bounding", needs: "root", attr: plain(vspawn.Attr{Bounding: vspawn.Ptr(vspawn.Caps(someCap, otherCap))}),
		check: func(_ *pairStage, s *state) bool { return s.Privileges.Bounding == hexCaps(someCap, otherCap) }},
	{field: "Securebits", needs: "root", attr: plain(vspawn.Attr{Securebits: vspawn.Ptr(secbitNoroot | secbitNorootLocked)}),
		check: func(_ *pairStage, s *state) bool { return s.Privileges.Securebits == secbitNoroot|secbitNorootLocked }},
	{field: "KeepCaps", needs: "root", attr: keptCaps, check: always, alike: "without it the Syscall beside it fails"},
	{field: "NoNewPrivs", attr: plain(vspawn.Attr{NoNewPrivs: true}),
		check: func(_ *pairStage, s *state) bool { return s.Privileges.NoNewPrivs == 1 }},
	{field: "Landlock", needs: "Landlock", attr: plain(vspawn.Attr{NoNewPrivs: true, Landlock: &vspawn.Landlock{FS: unix.LANDLOCK_ACCESS_FS_READ_DIR}}),
		check: func(_ *pairStage, s *state) bool { return !s.Lists }},
	{field: "Seccomp", attr: plain(vspawn.Attr{NoNewPrivs: true, Seccomp: deny(unix.SYS_SYNC, errFilter)}),
		check: func(p *pairStage, s *state) bool {
			return p.call(unix.SYS_SYNC) == -int(errFilter) && s.Privileges.Seccomp == "2"
		}},
}

// keptCaps has the child make the capabilities effective that it has kept over a change
// of UID.
func keptCaps(p *pairStage) vspawn.Attr {
	var own uint64
	fmt.Sscanf(p.own.Privileges.Permitted, "%x", &own)
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{{Permitted: uint32(own), Effective: uint32(own)},
		{Permitted: uint32(own >> 32), Effective: uint32(own >> 32)}}
	return vspawn.Attr{UID: vspawn.Ptr(1000), KeepCaps: true, Syscalls: []vspawn.Syscall{
		{Before: "Dir", Name: "capset", Nr: unix.SYS_CAPSET, Args: [6]uintptr{pin(p.t, header), pin(p.t, data)}}}}
}

// namespacePairs are about namespaces and mounts.
var namespacePairs = []pairEntry{
	{field: "Cloneflags", needs: "root", attr: plain(vspawn.Attr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWIPC}),
		check: func(p *pairStage, s *state) bool {
			return s.Pid == 1 && s.Namespaces["ipc"] != p.own.Namespaces["ipc"]
		}},
	{field: "Setns", needs: "root", attr: func(p *pairStage) vspawn.Attr {
		fd := must(unix.Open(p.uts, unix.O_RDONLY|unix.O_CLOEXEC, 0))
		p.cleanups = append(p.cleanups, func() { unix.Close(fd) })
		return vspawn.Attr{Setns: []vspawn.Namespace{{FD: vspawn.FD(fd)}}}
	}, check: func(p *pairStage, s *state) bool { return s.Namespaces["uts"] == must(os.Readlink(p.uts)) }},
	{field: "Unshareflags", needs: "root", attr: plain(vspawn.Attr{Unshareflags: unix.CLONE_NEWIPC}),
		check: func(p *pairStage, s *state) bool { return s.Namespaces["ipc"] != p.own.Namespaces["ipc"] }},
	{field: "UIDMap", needs: "user namespaces", attr: (*pairStage).inUserNamespace,
		check: func(p *pairStage, s *state) bool { return s.UIDMap == p.idMap(p.own.UID[0]) }},
	{field: "GIDMap", needs: "user namespaces", attr: (*pairStage).inUserNamespace,
		check: func(p *pairStage, s *state) bool { return s.GIDMap == p.idMap(p.own.GID[0]) }},
	{field: "AllowSetgroups", needs: "any ids in user namespaces", attr: (*pairStage).inUserNamespace,
		check: func(p *pairStage, s *state) bool {
			return s.UIDMap == p.idMap(p.own.UID[0]) && s.Setgroups == "allow"
		}},
	{field: "PrivateMounts", needs: "root", attr: func(p *pairStage) vspawn.Attr {
		top := []byte("/\x00")
		return vspawn.Attr{Cloneflags: unix.CLONE_NEWNS, PrivateMounts: true, Syscalls: []vspawn.Syscall{
			{Before: "Mounts", Name: "mount", Nr: unix.SYS_MOUNT, Args: [6]uintptr{0, pin(p.t, &top[0]), 0, unix.MS_REC | unix.MS_SHARED}}}}
	}, check: func(_ *pairStage, s *state) bool {
		return len(s.Mounts) > 1 && !slices.ContainsFunc(s.Mounts, func(m string) bool { return strings.Contains(m, " shared:") })
	}},
	{field: "Mounts", needs: "root", attr: plain(vspawn.Attr{Cloneflags: unix.CLONE_NEWNS,
		Mounts: []vspawn.Mount{{Source: "pairs", Target: "/dev", Type: "tmpfs"}}}),
		check: func(_ *pairStage, s *state) bool {
			return slices.ContainsFunc(mountsAt(s.Mounts, "/dev"), func(m string) bool { return strings.Contains(m, " - tmpfs pairs ") })
		}},
	{field: "PivotRoot", needs: "a root", attr: pairPivot,
		check: func(p *pairStage, s *state) bool {
			return s.Root == statInode(p.t, p.pivot) && len(mountsAt(s.Mounts, "/")) == 1
		}},
	{field: "Hostname", needs: "root", attr: plain(vspawn.Attr{Cloneflags: unix.CLONE_NEWUTS, Hostname: "box"}),
		check: func(_ *pairStage, s *state) bool { return s.Hostname == "box" }},
}

// pairPivot is pivot without a /proc.
func pairPivot(p *pairStage) vspawn.Attr {
	str := func(s string) uintptr {
		b := append([]byte(s), 0)
		return pin(p.t, &b[0])
	}
	dir, top := str(p.pivotTop), str("/")
	before := func(name string, nr uintptr, args ...uintptr) vspawn.Syscall {
		s := vspawn.Syscall{Before: "Mounts", Name: name, Nr: nr}
		copy(s.Args[:], args)
		return s
	}
	return vspawn.Attr{
		Cloneflags: unix.CLONE_NEWNS,
		Syscalls: []vspawn.Syscall{
			before("mount", unix.SYS_MOUNT, 0, top, 0, unix.MS_REC|unix.MS_PRIVATE),
			before("mount", unix.SYS_MOUNT, dir, dir, 0, unix.MS_BIND),
			before("chroot", unix.SYS_CHROOT, dir),
			before("chdir", unix.SYS_CHDIR, top),
		},
		Mounts:    []vspawn.Mount{{Source: "/sub", Target: "/sub", Flags: unix.MS_BIND}},
		PivotRoot: "/sub",
	}
}

// refusedPairs are those that Compile refuses, and why.
var refusedPairs = map[string]string{
	"Dir DirFD":               "two of one thing",
	"Groups KeepGroups":       "two of one thing",
	"Ptrace StartStopped":     "either stops the child",
	"Pdeathsig DieWithParent": "two of one thing",
	"DieWithParent Ptrace":    "the child is bound to the thread that traces it",
}

// changedPairs are those of which the child has not both, by the fields in the order of
// the entries, and why.
var changedPairs = map[string]string{
	"Chroot PivotRoot":     "the path of Chroot is one in the new root, which has no such directory",
	"Chroot PrivateMounts": "the mounts lie outside of the child's root, and mountinfo shows only what is below it",
	"Chroot Mounts":        "the mount lies outside of the child's root, and mountinfo shows only what is below it",
	"Mounts PivotRoot":     "the mount lies outside of the new root, and goes with the old one",
	"Setns UIDMap":         "who is in a new user namespace can't enter one that belongs to the old one",
	"Setns GIDMap":         "who is in a new user namespace can't enter one that belongs to the old one",
	"Setns AllowSetgroups": "who is in a new user namespace can't enter one that belongs to the old one",
}
