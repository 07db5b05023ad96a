//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// What the tests give away, and nothing needs.
const someCap, otherCap = unix.CAP_NET_BIND_SERVICE, unix.CAP_CHOWN

func hexCaps(list ...int) string { return fmt.Sprintf("%016x", uint64(vspawn.Caps(list...))) }

var privilegeKinds = []spawnKind{
	{"Capabilities", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, someCap, "pass on")
		needCapability(t, unix.CAP_SETPCAP, "set securebits")
		attr := &vspawn.Attr{
			Capabilities: &vspawn.Capabilities{Permitted: vspawn.Caps(someCap, otherCap), Inheritable: vspawn.Caps(someCap)},
			Securebits:   vspawn.Ptr(secbitNoroot), // or execve would give root all of them
		}
		return attr, func(t *testing.T, s *state) {
			equal(t, "inheritable", s.Privileges.Inheritable, hexCaps(someCap))
			equal(t, "permitted", s.Privileges.Permitted, hexCaps())
		}
	}},
	{"Capabilities, Ambient and a UID", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, someCap, "pass on")
		needCapability(t, unix.CAP_SETUID, "become another")
		both := vspawn.Caps(someCap, otherCap)
		attr := &vspawn.Attr{
			Capabilities: &vspawn.Capabilities{Permitted: both, Effective: vspawn.Caps(otherCap), Inheritable: both},
			Ambient:      vspawn.Caps(someCap),
			UID:          vspawn.Ptr(1000),
		}
		return attr, func(t *testing.T, s *state) {
			equal(t, "inheritable", s.Privileges.Inheritable, hexCaps(someCap, otherCap))
			for _, set := range []string{s.Privileges.Ambient, s.Privileges.Permitted, s.Privileges.Effective} {
				equal(t, "ambient, permitted and effective", set, hexCaps(someCap))
			}
		}
	}},
	{"Ambient", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, someCap, "pass on")
		needCapability(t, unix.CAP_SETUID, "become another")
		return &vspawn.Attr{Ambient: vspawn.Caps(someCap), UID: vspawn.Ptr(1000)}, func(t *testing.T, s *state) {
			for _, set := range []string{s.Privileges.Ambient, s.Privileges.Permitted, s.Privileges.Effective,
				s.Privileges.Inheritable} {
				equal(t, "ambient, permitted, effective and inheritable", set, hexCaps(someCap))
			}
		}
	}},
	{"Ambient in a new user namespace", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needUserNamespaces(t)
		uid := os.Getuid()
		attr := &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, Ambient: vspawn.Caps(someCap),
			UIDMap: []vspawn.IDMap{{Inside: 1000, Outside: uid, Size: 1}}}
		return attr, func(t *testing.T, s *state) { equal(t, "effective", s.Privileges.Effective, hexCaps(someCap)) }
	}},
	{"Bounding", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, someCap, "pass on")
		needCapability(t, unix.CAP_SETPCAP, "lower the bounding set")
		set := vspawn.Caps(someCap, otherCap)
		return &vspawn.Attr{Bounding: &set}, func(t *testing.T, s *state) {
			equal(t, "bounding set", s.Privileges.Bounding, hexCaps(someCap, otherCap))
		}
	}},
	{"Bounding that is empty, and a UID", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SETPCAP, "lower the bounding set")
		return &vspawn.Attr{Bounding: vspawn.Ptr(vspawn.Caps()), UID: vspawn.Ptr(1000)}, func(t *testing.T, s *state) {
			equal(t, "bounding set", s.Privileges.Bounding, hexCaps())
		}
	}},
	{"Securebits", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SETPCAP, "set securebits")
		return &vspawn.Attr{Securebits: vspawn.Ptr(secbitNoroot | secbitNorootLocked), UID: vspawn.Ptr(1000)},
			func(t *testing.T, s *state) {
				equal(t, "securebits", s.Privileges.Securebits, secbitNoroot|secbitNorootLocked)
			}
	}},
	{"KeepCaps", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SETUID, "become another")
		return &vspawn.Attr{KeepCaps: true, UID: vspawn.Ptr(1000), Syscalls: capsetAfterUID(t)},
			func(t *testing.T, s *state) {
				equal(t, "effective", s.Privileges.Effective, hexCaps())
			}
	}},
	{"NoNewPrivs", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		return &vspawn.Attr{NoNewPrivs: true}, func(t *testing.T, s *state) { equal(t, "no_new_privs", s.Privileges.NoNewPrivs, 1) }
	}},
	{"Seccomp", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		helper.SkipEmulated(t, "seccomp")
		// Who is not privileged needs NoNewPrivs before it.
		return &vspawn.Attr{NoNewPrivs: true, Seccomp: deny(unix.SYS_GETSID, errFilter), UID: someUser()},
			func(t *testing.T, s *state) {
				equal(t, "mode", s.Privileges.Seccomp, "2")
				equal(t, "session", s.Sid, -int(errFilter))
			}
	}},
	{"Seccomp of a privileged one", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		helper.SkipEmulated(t, "seccomp")
		needCapability(t, unix.CAP_SYS_ADMIN, "do without NoNewPrivs")
		return &vspawn.Attr{Seccomp: deny(unix.SYS_GETSID, errFilter)},
			func(t *testing.T, s *state) { equal(t, "session", s.Sid, -int(errFilter)) }
	}},
	{"Landlock", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needLandlock(t, 1)
		attr := &vspawn.Attr{NoNewPrivs: true, Landlock: &vspawn.Landlock{FS: unix.LANDLOCK_ACCESS_FS_READ_DIR},
			UID: someUser()}
		return attr, func(t *testing.T, s *state) { equal(t, "directories are read", s.Lists, false) }
	}},
	{"Landlock of one who gives up the capability for it", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needLandlock(t, 1)
		needCapability(t, unix.CAP_SYS_ADMIN, "do without NoNewPrivs")
		needCapability(t, unix.CAP_SETPCAP, "lower the bounding set")
		attr := &vspawn.Attr{Landlock: &vspawn.Landlock{FS: unix.LANDLOCK_ACCESS_FS_READ_DIR},
			Capabilities: &vspawn.Capabilities{}, Bounding: vspawn.Ptr(vspawn.Caps())}
		return attr, func(t *testing.T, s *state) { equal(t, "directories are read", s.Lists, false) }
	}},
}

// include/uapi/linux/securebits.h
const secbitNoroot, secbitNorootLocked, secbitKeepCapsLocked = 1 << 0, 1 << 1, 1 << 5

// capsetAfterUID asks for a capability that root had.
func capsetAfterUID(t *testing.T) []vspawn.Syscall {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{{Permitted: 1 << otherCap, Effective: 1 << otherCap}}
	return []vspawn.Syscall{{Before: "Dir", Name: "capset", Nr: unix.SYS_CAPSET, Args: [6]uintptr{pin(t, header), pin(t, data)}}}
}

// Without KeepCaps what KeepCaps is tested by fails.
func TestKeepCapsControl(t *testing.T) {
	needCapability(t, unix.CAP_SETUID, "become another")
	_, err := vspawn.Start(t.Context(), "/x", nil, &vspawn.Attr{UID: vspawn.Ptr(1000), Syscalls: capsetAfterUID(t)})
	checkError(t, err, vspawn.Error{Step: "capset", Field: "Syscalls[0]", Err: unix.EPERM})
}

// deny is a filter that makes one system call fail.
func deny(nr uintptr, errno unix.Errno) []vspawn.BPF {
	return []vspawn.BPF{
		{Op: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
		{Op: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(nr), Jf: 1},
		{Op: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Op: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
}

// only is a filter that lets pass nothing but some system calls.
func only(calls ...uint32) []vspawn.BPF {
	f := deny(0, errFilter)[:1]
	for _, nr := range calls {
		f = append(f, vspawn.BPF{Op: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
			vspawn.BPF{Op: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	}
	return append(f, vspawn.BPF{Op: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errFilter)})
}

// The filter is the last thing before exec: it needs to allow nothing else,
// whatever else the child does. Nor does NoNewPrivs come after it.
func TestSeccompIsLast(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	p, err := start(t, filteredHelper.Argv(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

// A filter that forbids even to exit does not make a failed start hang.
func TestSeccompForbidsExit(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	_, err := vspawn.Start(t.Context(), "/no/such", nil, &vspawn.Attr{NoNewPrivs: true, Seccomp: only(unix.SYS_EXECVE)})
	var failed *vspawn.Error
	if !errors.As(err, &failed) || failed.Step != "execve" || failed.Err != unix.ENOENT {
		t.Errorf("got %v", err)
	}
}

// filteredHelper is a process of its own since its child is traced.
var filteredHelper = helper.New("filtered", func([]string) int {
	attr := &vspawn.Attr{
		// By exit_group a child ends that fails, as it would were the filter earlier.
		NoNewPrivs: true, Seccomp: only(unix.SYS_EXECVE, unix.SYS_EXIT_GROUP), Dir: "/", Setsid: true, Umask: vspawn.Ptr(0), Nice: vspawn.Ptr(19),
		Files: []vspawn.File{{Child: 3, Parent: vspawn.FD(0)}, {Child: 0, Path: os.DevNull}}, Pdeathsig: unix.SIGKILL,
	}
	seen := ""
	err := atExec(attr, func(pid string) { seen = statusField(pid, "Seccomp") })
	if seen != "2" || err != nil {
		fmt.Fprintf(os.Stderr, "mode %q, %v\n", seen, err)
		return 1
	}
	return 0
})
