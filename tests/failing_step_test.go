//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// What needs a privilege says so for who has none.
func TestFailingPrivilege(t *testing.T) {
	argv := unprivilegedHelper.Argv()
	attr := &vspawn.Attr{}
	if os.Getuid() == 0 {
		needCapability(t, unix.CAP_SETUID, "become another")
		attr.UID, attr.GID = vspawn.Ptr(1000), vspawn.Ptr(1000)
	}
	p, err := start(t, argv, attr)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

var unprivilegedHelper = helper.New("unprivileged", func([]string) int {
	f, err := vspawn.Features()
	if err != nil {
		panic(err)
	}
	filter := unix.EACCES
	clone := vspawn.Error{Step: "clone3", Field: "Cloneflags", Object: "CLONE_NEWUTS", Err: unix.EPERM}
	if !f.Clone3 {
		clone.Step = "clone"
	}
	if !f.SharedMemory {
		clone.Err, filter = unix.EINVAL, unix.ENOSYS // qemu-user has neither namespaces nor seccomp
	}
	for _, c := range []struct {
		attr vspawn.Attr
		want vspawn.Error
	}{
		{vspawn.Attr{UID: vspawn.Ptr(0), KeepGroups: true}, vspawn.Error{Step: "setresuid", Field: "UID", Object: "0", Err: unix.EPERM}},
		{vspawn.Attr{GID: vspawn.Ptr(0), KeepGroups: true}, vspawn.Error{Step: "setresgid", Field: "GID", Object: "0", Err: unix.EPERM}},
		{vspawn.Attr{Groups: []int{0, 5}}, vspawn.Error{Step: "setgroups", Field: "Groups", Object: "[0 5]", Err: unix.EPERM}},
		{vspawn.Attr{Chroot: "/"}, vspawn.Error{Step: "chroot", Field: "Chroot", Object: "/", Err: unix.EPERM}},
		{vspawn.Attr{Cloneflags: unix.CLONE_NEWUTS}, clone},
		{vspawn.Attr{Bounding: vspawn.Ptr(vspawn.Caps())}, vspawn.Error{Step: "prctl", Field: "Bounding", Object: "(PR_CAPBSET_DROP, 0, 0, 0, 0)", Err: unix.EPERM}},
		{vspawn.Attr{Securebits: vspawn.Ptr(1)}, vspawn.Error{Step: "prctl", Field: "Securebits", Object: "(PR_SET_SECUREBITS, 0x1, 0, 0, 0)", Err: unix.EPERM}},
		{vspawn.Attr{Capabilities: &vspawn.Capabilities{Permitted: 1}}, vspawn.Error{Step: "capset", Field: "Capabilities", Object: "{0x1 0x0 0x0}", Err: unix.EPERM}},
		{vspawn.Attr{Nice: vspawn.Ptr(-1)}, vspawn.Error{Step: "setpriority", Field: "Nice", Object: "-1", Err: unix.EACCES}},
		{vspawn.Attr{Scheduler: &vspawn.Scheduler{Policy: unix.SCHED_RR, Priority: 1}}, vspawn.Error{Step: "sched_setattr", Field: "Scheduler", Object: "(0, {2 0 1 0s 0s 0s}, 0)", Err: unix.EPERM}},
		{vspawn.Attr{IOPriority: &vspawn.IOPriority{Class: 1}}, vspawn.Error{Step: "ioprio_set", Field: "IOPriority", Object: "{1 0}", Err: unix.EPERM}},
		{vspawn.Attr{OOMScoreAdj: vspawn.Ptr(-1)}, vspawn.Error{Step: "write", Field: "OOMScoreAdj", Object: "/proc/self/oom_score_adj", Err: unix.EACCES}},
		{vspawn.Attr{Unshareflags: unix.CLONE_NEWUTS}, vspawn.Error{Step: "unshare", Field: "Unshareflags", Object: "(CLONE_NEWUTS)", Err: unix.EPERM}},
		{vspawn.Attr{Seccomp: deny(0, 0)}, vspawn.Error{Step: "seccomp", Field: "Seccomp", Object: "a filter of 4 instructions", Err: filter}},
	} {
		_, err := vspawn.Start(noContext, "/x", nil, &c.attr)
		var e *vspawn.Error
		if !errors.As(err, &e) || e.Step != c.want.Step || e.Field != c.want.Field || e.Object != c.want.Object ||
			e.Err != c.want.Err {
			fmt.Fprintf(os.Stderr, "got %v, want %v\n", err, &c.want)
			return 1
		}
	}
	return 0
})

// failingSteps has each kind of step, made to fail by a filter that the child
// itself installs first. The plan's first such call is the one that fails.
var failingSteps = []struct {
	attr vspawn.Attr
	want vspawn.Error // its cause is errFilter
	nr   uintptr
}{
	{vspawn.Attr{Setsid: true}, vspawn.Error{Step: "setsid", Field: "Setsid", Object: "()"}, unix.SYS_SETSID},
	{vspawn.Attr{Pgid: vspawn.Ptr(0)}, vspawn.Error{Step: "setpgid", Field: "Pgid", Object: "(0, 0)"}, unix.SYS_SETPGID},
	{vspawn.Attr{Setsid: true, TTY: vspawn.FD(0), ControllingTTY: true},
		vspawn.Error{Step: "ioctl", Field: "ControllingTTY", Object: "(0, TIOCSCTTY, 0)"}, unix.SYS_IOCTL},
	{vspawn.Attr{TTY: vspawn.FD(0), Foreground: true}, vspawn.Error{Step: "getpgid", Field: "Foreground"}, unix.SYS_GETPGID},
	{vspawn.Attr{TTY: vspawn.FD(0), Foreground: true}, vspawn.Error{Step: "ioctl", Field: "Foreground"}, unix.SYS_IOCTL},
	{vspawn.Attr{Umask: vspawn.Ptr(0o22)}, vspawn.Error{Step: "umask", Field: "Umask", Object: "(022)"}, unix.SYS_UMASK},
	{vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: vspawn.FD(2)}}}, vspawn.Error{Step: "dup3", Field: "Files", Object: "(2, 1, 0)"}, unix.SYS_DUP3},
	{vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: vspawn.FD(2)}, {Child: 2, Parent: vspawn.FD(1)}}}, vspawn.Error{Step: "dup3", Field: "Files", Object: ", O_CLOEXEC)"}, unix.SYS_DUP3},
	{vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: vspawn.FD(1)}}}, vspawn.Error{Step: "fcntl", Field: "Files", Object: "(1, F_SETFD, 0)"}, unix.SYS_FCNTL},
	{vspawn.Attr{}, vspawn.Error{Step: "close_range", Object: "the descriptors that the child is not given"}, unix.SYS_CLOSE_RANGE},
	{vspawn.Attr{Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_STACK}}}, vspawn.Error{Step: "prlimit64", Field: "Rlimits[0]", Object: "RLIMIT_STACK"}, unix.SYS_PRLIMIT64},
	{vspawn.Attr{Chroot: "/"}, vspawn.Error{Step: "chroot", Field: "Chroot", Object: "/"}, unix.SYS_CHROOT},
	{vspawn.Attr{Groups: []int{3, 5}}, vspawn.Error{Step: "setgroups", Field: "Groups", Object: "[3 5]"}, unix.SYS_SETGROUPS},
	{vspawn.Attr{GID: vspawn.Ptr(7), KeepGroups: true}, vspawn.Error{Step: "setresgid", Field: "GID", Object: "7"}, unix.SYS_SETRESGID},
	{vspawn.Attr{UID: vspawn.Ptr(7), KeepGroups: true}, vspawn.Error{Step: "setresuid", Field: "UID", Object: "7"}, unix.SYS_SETRESUID},
	{vspawn.Attr{Dir: "/"}, vspawn.Error{Step: "chdir", Field: "Dir", Object: "/"}, unix.SYS_CHDIR},
	{vspawn.Attr{Pdeathsig: unix.SIGTERM}, vspawn.Error{Step: "prctl", Field: "Pdeathsig", Object: "(PR_SET_PDEATHSIG, SIGTERM)"}, unix.SYS_PRCTL},
	{vspawn.Attr{Pdeathsig: unix.SIGTERM}, vspawn.Error{Step: "getppid", Field: "Pdeathsig"}, unix.SYS_GETPPID},
	{vspawn.Attr{DieWithParent: true}, vspawn.Error{Step: "getppid", Field: "DieWithParent"}, unix.SYS_GETPPID},
	{vspawn.Attr{IgnoreSignals: []syscall.Signal{unix.SIGUSR1}}, vspawn.Error{Step: "rt_sigaction", Field: "IgnoreSignals", Object: "SIGUSR1"}, unix.SYS_RT_SIGACTION},
	{vspawn.Attr{DefaultSignals: []syscall.Signal{unix.SIGUSR2}}, vspawn.Error{Step: "rt_sigaction", Field: "DefaultSignals", Object: "SIGUSR2"}, unix.SYS_RT_SIGACTION},
	{vspawn.Attr{SignalMask: []syscall.Signal{unix.SIGUSR2}}, vspawn.Error{Step: "rt_sigprocmask", Field: "SignalMask"}, unix.SYS_RT_SIGPROCMASK},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []vspawn.IDMap{{Size: 1}}}, vspawn.Error{Step: "write", Field: "UIDMap"}, unix.SYS_WRITE},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []vspawn.IDMap{{Size: 1}}}, vspawn.Error{Step: "close", Field: "UIDMap", Object: "the parent's end of the socket"}, unix.SYS_CLOSE},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []vspawn.IDMap{{Size: 1}}}, vspawn.Error{Step: "read", Field: "UIDMap"}, unix.SYS_READ},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []vspawn.IDMap{{Size: 1}}}, vspawn.Error{Step: "ppoll", Field: "UIDMap", Object: "the parent's answer, and its pidfd"}, unix.SYS_PPOLL},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, Pdeathsig: unix.SIGTERM}, vspawn.Error{Step: "close", Field: "Pdeathsig", Object: "the parent's end of the socket"}, unix.SYS_CLOSE},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, Pdeathsig: unix.SIGTERM}, vspawn.Error{Step: "write", Field: "Pdeathsig"}, unix.SYS_WRITE},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, Pdeathsig: unix.SIGTERM}, vspawn.Error{Step: "ppoll", Field: "Pdeathsig", Object: "the parent's answer, and its pidfd"}, unix.SYS_PPOLL},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, StartStopped: true}, vspawn.Error{Step: "ppoll", Field: "StartStopped", Object: "the parent's answer, and its pidfd"}, unix.SYS_PPOLL},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, Ptrace: true}, vspawn.Error{Step: "read", Field: "Ptrace"}, unix.SYS_READ},
	{vspawn.Attr{}, vspawn.Error{Step: "execve", Object: "/x"}, unix.SYS_EXECVE},
	{vspawn.Attr{DirFD: vspawn.FD(0)}, vspawn.Error{Step: "fchdir", Field: "DirFD", Object: "0"}, unix.SYS_FCHDIR},
	{vspawn.Attr{ExecFD: vspawn.FD(0)}, vspawn.Error{Step: "execveat", Field: "ExecFD", Object: "0"}, unix.SYS_EXECVEAT},
	{vspawn.Attr{Files: []vspawn.File{{Child: 0, Parent: vspawn.FD(0)}, {Child: 1, Path: "/"}}}, vspawn.Error{Step: "openat", Field: "Files[1]", Object: "/"}, unix.SYS_OPENAT},
	{vspawn.Attr{Files: []vspawn.File{{Child: 1, Path: "/"}}}, vspawn.Error{Step: "dup3", Field: "Files[0]", Object: "(result, 3, O_CLOEXEC)"}, unix.SYS_DUP3},
	{vspawn.Attr{InheritFiles: true, CloseRanges: []vspawn.Range{{First: 5, NoEnd: true}}}, vspawn.Error{Step: "close_range", Field: "CloseRanges"}, unix.SYS_CLOSE_RANGE},
	{vspawn.Attr{Scheduler: &vspawn.Scheduler{}}, vspawn.Error{Step: "sched_setattr", Field: "Scheduler"}, unix.SYS_SCHED_SETATTR},
	{vspawn.Attr{Nice: vspawn.Ptr(3)}, vspawn.Error{Step: "setpriority", Field: "Nice", Object: "3"}, unix.SYS_SETPRIORITY},
	{vspawn.Attr{IOPriority: &vspawn.IOPriority{Class: 2, Level: 7}}, vspawn.Error{Step: "ioprio_set", Field: "IOPriority", Object: "{2 7}"}, unix.SYS_IOPRIO_SET},
	{vspawn.Attr{Affinity: []int{0, 1}}, vspawn.Error{Step: "sched_setaffinity", Field: "Affinity", Object: "[0 1]"}, unix.SYS_SCHED_SETAFFINITY},
	{vspawn.Attr{CoreSched: true}, vspawn.Error{Step: "prctl", Field: "CoreSched"}, unix.SYS_PRCTL},
	{vspawn.Attr{TimerSlack: 1}, vspawn.Error{Step: "prctl", Field: "TimerSlack", Object: "(PR_SET_TIMERSLACK, 1, 0, 0, 0)"}, unix.SYS_PRCTL},
	{vspawn.Attr{OOMScoreAdj: vspawn.Ptr(1000)}, vspawn.Error{Step: "openat", Field: "OOMScoreAdj", Object: "/oom_score_adj"}, unix.SYS_OPENAT},
	{vspawn.Attr{OOMScoreAdj: vspawn.Ptr(1000)}, vspawn.Error{Step: "write", Field: "OOMScoreAdj", Object: "/oom_score_adj"}, unix.SYS_WRITE},
	{vspawn.Attr{Personality: vspawn.Ptr[uintptr](0)}, vspawn.Error{Step: "personality", Field: "Personality", Object: "(0x0)"}, unix.SYS_PERSONALITY},
	{vspawn.Attr{NewKeyring: true}, vspawn.Error{Step: "keyctl", Field: "NewKeyring"}, unix.SYS_KEYCTL},
	{vspawn.Attr{Bounding: vspawn.Ptr(vspawn.Caps())}, vspawn.Error{Step: "prctl", Field: "Bounding", Object: "(PR_CAPBSET_DROP, 0, 0, 0, 0)"}, unix.SYS_PRCTL},
	{vspawn.Attr{Securebits: vspawn.Ptr(1)}, vspawn.Error{Step: "prctl", Field: "Securebits", Object: "(PR_SET_SECUREBITS, 0x1, 0, 0, 0)"}, unix.SYS_PRCTL},
	{vspawn.Attr{KeepCaps: true}, vspawn.Error{Step: "prctl", Field: "KeepCaps", Object: "(PR_SET_KEEPCAPS, 1, 0, 0, 0)"}, unix.SYS_PRCTL},
	{vspawn.Attr{NoNewPrivs: true}, vspawn.Error{Step: "prctl", Field: "NoNewPrivs", Object: "(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)"}, unix.SYS_PRCTL},
	{vspawn.Attr{Capabilities: &vspawn.Capabilities{Permitted: 5}, NoNewPrivs: true}, vspawn.Error{Step: "capset", Field: "Capabilities", Object: "{0x5 0x0 0x0}"}, unix.SYS_CAPSET},
	{landlocked, vspawn.Error{Step: "landlock_create_ruleset", Field: "Landlock"}, unix.SYS_LANDLOCK_CREATE_RULESET},
	{landlocked, vspawn.Error{Step: "openat", Field: "Landlock", Object: "/proc"}, unix.SYS_OPENAT},
	{landlocked, vspawn.Error{Step: "landlock_add_rule", Field: "Landlock", Object: "/proc"}, unix.SYS_LANDLOCK_ADD_RULE},
	{landlocked, vspawn.Error{Step: "landlock_restrict_self", Field: "Landlock"}, unix.SYS_LANDLOCK_RESTRICT_SELF},
	{vspawn.Attr{Seccomp: deny(unix.SYS_GETSID, errFilter)}, vspawn.Error{Step: "seccomp", Field: "Seccomp", Object: "a filter of 4 instructions"}, unix.SYS_SECCOMP},
	{vspawn.Attr{Setns: []vspawn.Namespace{{Pid: 1, Flags: unix.CLONE_NEWUTS}}},
		vspawn.Error{Step: "pidfd_open", Field: "Setns[0]", Object: "CLONE_NEWUTS of pid 1"}, unix.SYS_PIDFD_OPEN},
	{vspawn.Attr{Setns: []vspawn.Namespace{{FD: vspawn.FD(0), Flags: unix.CLONE_NEWUTS}}},
		vspawn.Error{Step: "setns", Field: "Setns[0]", Object: "CLONE_NEWUTS of descriptor 0"}, unix.SYS_SETNS},
	{vspawn.Attr{Unshareflags: unix.CLONE_NEWUTS}, vspawn.Error{Step: "unshare", Field: "Unshareflags", Object: "(CLONE_NEWUTS)"}, unix.SYS_UNSHARE},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWUTS, Hostname: "box"},
		vspawn.Error{Step: "sethostname", Field: "Hostname", Object: "box"}, unix.SYS_SETHOSTNAME},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, PrivateMounts: true},
		vspawn.Error{Step: "mount", Field: "PrivateMounts", Object: "/"}, unix.SYS_MOUNT},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, PivotRoot: "/proc"},
		vspawn.Error{Step: "chdir", Field: "PivotRoot", Object: "/proc"}, unix.SYS_CHDIR},
	{vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, PivotRoot: "/proc"},
		vspawn.Error{Step: "pivot_root", Field: "PivotRoot", Object: "/proc"}, unix.SYS_PIVOT_ROOT},
	{vspawn.Attr{Ptrace: true}, vspawn.Error{Step: "ptrace", Field: "Ptrace"}, unix.SYS_PTRACE},
	{vspawn.Attr{StartStopped: true}, vspawn.Error{Step: "ptrace", Field: "StartStopped"}, unix.SYS_PTRACE},
	{vspawn.Attr{Ptrace: true}, vspawn.Error{Step: "prctl", Field: "Ptrace", Object: "(PR_SET_PDEATHSIG, SIGKILL)"}, unix.SYS_PRCTL},
	{vspawn.Attr{StartStopped: true}, vspawn.Error{Step: "getppid", Field: "StartStopped"}, unix.SYS_GETPPID},
	{vspawn.Attr{StartStopped: true}, vspawn.Error{Step: "getpid", Field: "StartStopped"}, unix.SYS_GETPID},
	{vspawn.Attr{Ptrace: true}, vspawn.Error{Step: "tkill", Field: "Ptrace", Object: "SIGSTOP)"}, unix.SYS_TKILL},
}

var landlocked = vspawn.Attr{NoNewPrivs: true, Landlock: &vspawn.Landlock{
	FS: unix.LANDLOCK_ACCESS_FS_READ_DIR, Paths: []vspawn.LandlockPath{{Path: "/proc", Allow: unix.LANDLOCK_ACCESS_FS_READ_DIR}}}}

// errFilter is an errno that none of these calls gives by itself.
const errFilter = unix.EXFULL

// Each kind of step, when it fails, is named with its field and its object,
// and nothing is left.
func TestFailingStep(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	features, err := vspawn.Features()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range failingSteps {
		leavesNothing(t, f.want.Step+" "+f.want.Field, func(t *testing.T) {
			switch {
			case f.nr == unix.SYS_CLOSE_RANGE && !features.CloseRangeCloexec:
				t.Skip("there is no CLOSE_RANGE_CLOEXEC (Linux 5.11), and what is done instead can't fail")
			case f.nr == unix.SYS_RT_SIGACTION && !features.ClearSighand:
				f.want = vspawn.Error{Step: "rt_sigaction", Field: "DefaultSignals"} // the first of them resets a handler
			case f.attr.Landlock != nil:
				needLandlock(t, 1)
			case f.attr.UIDMap != nil:
				needUserNamespaces(t)
				f.attr.UIDMap[0].Outside = os.Getuid()
			case f.attr.Cloneflags != 0:
				needUserNamespaces(t)
			}
			path := "/x"
			if f.attr.ExecFD != nil {
				path = ""
			}
			attr := f.attr
			attr.Syscalls = denyInChild(t, f.nr, errFilter)
			_, err := vspawn.Start(t.Context(), path, []string{"x"}, &attr)
			f.want.Err = errFilter
			checkError(t, err, f.want)
		})
	}
}

// denyInChild are calls that make a system call fail from then on in a child.
func denyInChild(t *testing.T, nr uintptr, errno unix.Errno) []vspawn.Syscall {
	return filterInChild(t, deny(nr, errno))
}

// filterInChild are calls that put a child under a filter.
func filterInChild(t *testing.T, filter []vspawn.BPF) []vspawn.Syscall {
	code := new([4]unix.SockFilter)
	for i, f := range filter {
		code[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	prog := &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	return []vspawn.Syscall{
		{Before: "Cgroup", Name: "prctl", Nr: unix.SYS_PRCTL, Args: [6]uintptr{unix.PR_SET_NO_NEW_PRIVS, 1}},
		{Before: "Cgroup", Name: "seccomp", Nr: unix.SYS_SECCOMP, Args: [6]uintptr{unix.SECCOMP_SET_MODE_FILTER, 0, pin(t, prog)}},
	}
}

// No step that a plan can have is missing from the list above.
func TestFailingStepsAreAll(t *testing.T) {
	all := vspawn.Attr{
		Dir: "/", Files: []vspawn.File{{Child: 1, Parent: vspawn.FD(2)}, {Child: 2, Parent: vspawn.FD(1)}, {Child: 0, Parent: vspawn.FD(0)}},
		Setsid: true, TTY: vspawn.FD(0), ControllingTTY: true, Foreground: true, Umask: vspawn.Ptr(0),
		Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_STACK}}, Chroot: "/",
		UID: vspawn.Ptr(0), GID: vspawn.Ptr(0), Groups: []int{0},
		SignalMask: []syscall.Signal{unix.SIGHUP}, DefaultSignals: []syscall.Signal{unix.SIGHUP}, IgnoreSignals: []syscall.Signal{unix.SIGINT},
		Pdeathsig: unix.SIGHUP, Cloneflags: unix.CLONE_NEWUSER,
		UIDMap: []vspawn.IDMap{{Size: 1}}, GIDMap: []vspawn.IDMap{{Size: 1}}, AllowSetgroups: true,
		InheritFiles: true, CloseRanges: []vspawn.Range{{First: 9, NoEnd: true}},
		Nice: vspawn.Ptr(0), IOPriority: &vspawn.IOPriority{}, Scheduler: &vspawn.Scheduler{}, Affinity: []int{0},
		CoreSched: true, TimerSlack: 1, OOMScoreAdj: vspawn.Ptr(0), Personality: vspawn.Ptr[uintptr](0), NewKeyring: true,
		Capabilities: &vspawn.Capabilities{Permitted: 1, Inheritable: 1}, Ambient: 1, Bounding: vspawn.Ptr(vspawn.Caps()),
		Securebits: vspawn.Ptr(0), KeepCaps: true, NoNewPrivs: true, Landlock: landlocked.Landlock, Seccomp: deny(0, 0),
		Setns: []vspawn.Namespace{{Pid: 1, Flags: unix.CLONE_NEWNS}}, Unshareflags: unix.CLONE_NEWUTS, Hostname: "box",
		PrivateMounts: true, Mounts: []vspawn.Mount{{Target: "/"}}, PivotRoot: "/", StartStopped: true,
	}
	others := []vspawn.Attr{ // which contradict some of those
		{Pgid: vspawn.Ptr(0)}, {DieWithParent: true}, {DirFD: vspawn.FD(0)}, {Ptrace: true}, {ExecFD: vspawn.FD(0)}, {KeepGroups: true}, {Syscalls: []vspawn.Syscall{}},
		{Env: []string{}},
	}
	known := []string{"clone3", "umount2"} // see failingStarts
	for _, f := range failingSteps {
		known = append(known, f.want.Step)
	}
	given := map[string]bool{}
	for _, attr := range append(others, all) {
		v := reflect.ValueOf(attr)
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				given[v.Type().Field(i).Name] = true
			}
		}
		path := "/x"
		if attr.ExecFD != nil {
			path = ""
		}
		plan, err := vspawn.Compile(path, []string{"x"}, &attr)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^(\w+)\(`).FindAllStringSubmatch(plan.String(), -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("no test makes %s fail", m[1])
			}
		}
	}
	for i := range reflect.TypeFor[vspawn.Attr]().NumField() {
		if f := reflect.TypeFor[vspawn.Attr]().Field(i).Name; !given[f] && f != "Cgroup" {
			t.Errorf("Attr.%s is in none of the plans", f)
		}
	}
}
