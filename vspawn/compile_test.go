//go:build linux

package vspawn

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// everything is the plan that TestPlanString calls so.
const everything = `clone3({flags=CLONE_VM|CLONE_VFORK|CLONE_PARENT_SETTID|CLONE_PIDFD|CLONE_CLEAR_SIGHAND|CLONE_INTO_CGROUP|CLONE_NEWUSER|CLONE_NEWPID, exit_signal=SIGCHLD})
close(peer)
write(sync, &word0, 1)
ppoll([{sync, POLLIN}, {parent, POLLIN}], 2, NULL, NULL, 8)
read(sync, &word0, 1) = 1
rt_sigaction(SIGINT, {sa_handler=SIG_DFL}, NULL, 8)
rt_sigaction(SIGPIPE, {sa_handler=SIG_IGN}, NULL, 8)
setsid()
ioctl(0, TIOCSCTTY, 0)
getpgid(0)
ioctl(0, TIOCSPGRP, &word1)
chroot("/r")
chdir("/")
umask(027)
fcntl(0, F_SETFD, 0)
close_range(1, 4294967295, CLOSE_RANGE_CLOEXEC)
prlimit64(0, RLIMIT_STACK, {rlim_cur=16777216, rlim_max=RLIM_INFINITY}, NULL)
setgroups(2, [3 4])
setresgid(2, 2, 2)
getuid(0x1, 0x0, 0x0, 0x0, 0x0, 0x0) /* may fail */
setresuid(1, 1, 1)
chdir("/d")
prctl(PR_SET_PDEATHSIG, SIGTERM)
write(sync, &word0, 1)
ppoll([{sync, POLLIN}, {parent, POLLIN}], 2, NULL, NULL, 8)
read(sync, &word0, 1) = 1
rt_sigprocmask(SIG_SETMASK, [HUP], NULL, 8)
execve("/bin/true", ["true", "it"], /* 2 vars */)
`

// A plan prints as the child's system calls, in their order.
func TestPlanString(t *testing.T) {
	const clone = "clone3({flags=CLONE_VM|CLONE_VFORK|CLONE_PARENT_SETTID|CLONE_PIDFD|CLONE_FILES|CLONE_CLEAR_SIGHAND"
	for _, test := range []struct {
		name string
		attr Attr
		want string
	}{
		{"nothing", Attr{}, clone + `, exit_signal=SIGCHLD})
close_range(3, 4294967295, CLOSE_RANGE_UNSHARE)
rt_sigprocmask(SIG_SETMASK, [inherited], NULL, 8)
execve("/bin/true", ["true", "it"], /* 2 vars */)
`},
		{"swapped descriptors", Attr{Files: []File{{Child: 0, Parent: FD(1)}, {Child: 1, Parent: FD(0)}, {Child: 5, Parent: FD(2)}}}, clone + `, exit_signal=SIGCHLD})
close_range(6, 4294967295, CLOSE_RANGE_UNSHARE)
dup3(2, 5, 0)
dup3(0, 6, O_CLOEXEC)
dup3(1, 0, 0)
dup3(6, 1, 0)
close_range(2, 4, CLOSE_RANGE_CLOEXEC)
rt_sigprocmask(SIG_SETMASK, [inherited], NULL, 8)
execve("/bin/true", ["true", "it"], /* 2 vars */)
`},
		{"other flags of clone", Attr{Files: []File{}, Cloneflags: unix.CLONE_UNTRACED | unix.CLONE_PTRACE | unix.CLONE_SYSVSEM | unix.CLONE_IO},
			clone + `|CLONE_UNTRACED|CLONE_PTRACE|CLONE_SYSVSEM|CLONE_IO, exit_signal=SIGCHLD})
close_range(3, 4294967295, CLOSE_RANGE_UNSHARE)
close_range(0, 4294967295, CLOSE_RANGE_CLOEXEC)
rt_sigprocmask(SIG_SETMASK, [inherited], NULL, 8)
execve("/bin/true", ["true", "it"], /* 2 vars */)
`},
		{"everything", Attr{
			Dir: "/d", Files: []File{{Child: 0, Parent: FD(0)}}, Setsid: true, TTY: FD(0), ControllingTTY: true, Foreground: true,
			Umask: Ptr(0o27), Rlimits: []Rlimit{{unix.RLIMIT_STACK, 16 << 20, ^uint64(0)}}, Chroot: "/r",
			UID: Ptr(1), GID: Ptr(2), Groups: []int{3, 4}, SignalMask: []syscall.Signal{syscall.SIGHUP},
			DefaultSignals: []syscall.Signal{syscall.SIGINT}, IgnoreSignals: []syscall.Signal{syscall.SIGPIPE},
			Pdeathsig: syscall.SIGTERM, Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, UIDMap: []IDMap{{0, 1000, 1}},
			Cgroup: FD(1), Syscalls: []Syscall{{Before: "UID", Name: "getuid", Nr: unix.SYS_GETUID, Args: [6]uintptr{1}, Tolerate: true}},
		}, everything},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.attr.Env = []string{"A=1", "B=2"}
			if r, _ := nofileAtStart(); raisedNofile() { // or the plan would have one line more
				test.attr.Rlimits = append(test.attr.Rlimits, r)
			}
			plan, err := Compile("/bin/true", []string{"true", "it"}, &test.attr)
			if err != nil {
				t.Fatal(err)
			}
			got := plan.String()
			if r, _ := nofileAtStart(); raisedNofile() {
				line := "prlimit64(0, RLIMIT_NOFILE, " + rlimitValue(r).String() + ", NULL)\n"
				if !strings.Contains(got, line) {
					t.Errorf("no %s", line)
				}
				got = strings.Replace(got, line, "", 1)
			}
			if got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// A refusal is what Compile is given, and the field that it refuses.
type refusal struct {
	path  string
	argv  []string
	attr  Attr
	field string
}

var (
	// tooBig is the first number that is no id; on 32-bit machines it is negative.
	tooBig int64 = 1<<32 - 1

	// refusals are those that need nothing to be open.
	refusals = []refusal{
		{"", nil, Attr{}, "path"},
		{"/bin/\x00", nil, Attr{}, "path"},
		{"/x", []string{}, Attr{}, "argv"},
		{"/x", []string{"x", "a\x00"}, Attr{}, "argv[1]"},
		{"/x", nil, Attr{Env: []string{"A=\x00"}}, "Env[0]"},
		{"/x", nil, Attr{Dir: "\x00"}, "Dir"},
		{"/x", nil, Attr{Chroot: "/\x00"}, "Chroot"},
		{"/x", nil, Attr{Files: []File{{Child: -1, Parent: FD(0)}}}, "Files[0]"},
		{"/x", nil, Attr{Files: []File{{Child: 1 << 30, Parent: FD(0)}}}, "Files[0]"},
		{"/x", nil, Attr{Files: []File{{Child: 1, Parent: FD(0)}, {Child: 3, Parent: FD(1 << 30)}}}, "Files[1]"},
		{"/x", nil, Attr{Files: []File{{Parent: FD(-1)}}}, "Files[0]"},
		{"/x", nil, Attr{Files: []File{{Parent: FD(1000)}}}, "Files[0]"},
		{"/x", nil, Attr{Files: []File{{Child: 1, Parent: FD(0)}, {Child: 1, Parent: FD(0)}}}, "Files[1]"},
		{"/x", nil, Attr{Setsid: true, Pgid: Ptr(7)}, "Pgid"},
		{"/x", nil, Attr{Pgid: Ptr(-1)}, "Pgid"},
		{"/x", nil, Attr{Foreground: true}, "Foreground"},
		{"/x", nil, Attr{ControllingTTY: true, Setsid: true}, "ControllingTTY"},
		{"/x", nil, Attr{ControllingTTY: true, TTY: FD(0)}, "ControllingTTY"},
		{"/x", nil, Attr{Setsid: true, Foreground: true, TTY: FD(0)}, "Foreground"},
		{"/x", nil, Attr{TTY: FD(0)}, "TTY"},
		{"/x", nil, Attr{TTY: FD(1000), Foreground: true}, "TTY"},
		{"/x", nil, Attr{Umask: Ptr(0o1000)}, "Umask"},
		{"/x", nil, Attr{Umask: Ptr(-1)}, "Umask"},
		{"/x", nil, Attr{Rlimits: []Rlimit{{Resource: 16}}}, "Rlimits[0]"},
		{"/x", nil, Attr{Rlimits: []Rlimit{{Resource: -1}}}, "Rlimits[0]"},
		{"/x", nil, Attr{Rlimits: []Rlimit{{Resource: 3, Soft: 2, Hard: 1}}}, "Rlimits[0]"},
		{"/x", nil, Attr{Rlimits: []Rlimit{{Resource: 3}, {Resource: 3}}}, "Rlimits[1]"},
		{"/x", nil, Attr{UID: Ptr(-1)}, "UID"},
		{"/x", nil, Attr{UID: Ptr(int(tooBig))}, "UID"},
		{"/x", nil, Attr{GID: Ptr(int(tooBig + 1))}, "GID"},
		{"/x", nil, Attr{Groups: []int{-1}}, "Groups[0]"},
		{"/x", nil, Attr{Groups: make([]int, 65537)}, "Groups"},
		{"/x", nil, Attr{KeepGroups: true, Groups: []int{1}}, "KeepGroups"},
		{"/x", nil, Attr{SignalMask: []syscall.Signal{65}}, "SignalMask[0]"},
		{"/x", nil, Attr{SignalMask: []syscall.Signal{0}}, "SignalMask[0]"},
		{"/x", nil, Attr{DefaultSignals: []syscall.Signal{syscall.SIGKILL}}, "DefaultSignals[0]"},
		{"/x", nil, Attr{IgnoreSignals: []syscall.Signal{syscall.SIGSTOP}}, "IgnoreSignals[0]"},
		{"/x", nil, Attr{DefaultSignals: []syscall.Signal{1}, IgnoreSignals: []syscall.Signal{1}}, "IgnoreSignals[0]"},
		{"/x", nil, Attr{Pdeathsig: 99}, "Pdeathsig"},
		{"/x", nil, Attr{DieWithParent: true, Pdeathsig: syscall.SIGTERM}, "DieWithParent"},
		{"/x", nil, Attr{DieWithParent: true, Ptrace: true}, "DieWithParent"},
		{"/x", nil, Attr{Cloneflags: unix.CLONE_THREAD}, "Cloneflags"},
		{"/x", nil, Attr{Cloneflags: unix.CLONE_FS}, "Cloneflags"},
		{"/x", nil, Attr{UIDMap: []IDMap{{0, 0, 1}}}, "UIDMap"},
		{"/x", nil, Attr{Cloneflags: unix.CLONE_NEWUSER, GIDMap: []IDMap{{0, 0, 0}}}, "GIDMap[0]"},
		{"/x", nil, Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []IDMap{{0, int(tooBig - 1), 2}}}, "UIDMap[0]"},
		{"/x", nil, Attr{AllowSetgroups: true}, "AllowSetgroups"},
		{"/x", nil, Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []IDMap{{0, 1, 1}}, GIDMap: []IDMap{{0, 1, 1}}, UID: Ptr(0), GID: Ptr(0)}, "Groups"},
		{"/x", nil, Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []IDMap{{0, 1, 1}}, UID: Ptr(0)}, "Groups"},
		{"/x", nil, Attr{Unshareflags: unix.CLONE_NEWUSER, GID: Ptr(0)}, "Groups"},
		{"/x", nil, Attr{Cgroup: FD(-1)}, "Cgroup"},
		{"/x", nil, Attr{Cgroup: FD(1000)}, "Cgroup"},
		{"/x", nil, Attr{Syscalls: []Syscall{{Before: "Nonsense"}}}, "Syscalls[0]"},
		{"/x", nil, Attr{ExecFD: FD(0)}, "path"},
		{"", nil, Attr{ExecFD: FD(1000)}, "ExecFD"},
		{"/x", nil, Attr{DirFD: FD(1000)}, "DirFD"},
		{"/x", nil, Attr{DirFD: FD(0), Dir: "/"}, "DirFD"},
		{"/x", nil, Attr{Files: []File{{Path: "a\x00"}}}, "Files[0]"},
		{"/x", nil, Attr{Files: []File{{Path: "a", Parent: FD(1)}}}, "Files[0]"},
		{"/x", nil, Attr{Files: []File{{Path: "a", Mode: 1 << 16}}}, "Files[0]"},
		{"/x", nil, Attr{CloseRanges: []Range{{First: 3, Last: 4}}}, "CloseRanges[0]"},
		{"/x", nil, Attr{InheritFiles: true, CloseRanges: []Range{{First: 4, Last: 3}}}, "CloseRanges[0]"},
		{"/x", nil, Attr{InheritFiles: true, CloseRanges: []Range{{First: 3}}}, "CloseRanges[0]"},
		{"/x", nil, Attr{InheritFiles: true, CloseRanges: []Range{{}, {First: 3, Last: 4, NoEnd: true}}}, "CloseRanges[1]"},
		{"/x", nil, Attr{Nice: Ptr(20)}, "Nice"},
		{"/x", nil, Attr{IOPriority: &IOPriority{4, 0}}, "IOPriority"},
		{"/x", nil, Attr{Scheduler: &Scheduler{Priority: 100}}, "Scheduler"},
		{"/x", nil, Attr{Scheduler: &Scheduler{Policy: unix.SCHED_DEADLINE}}, "Scheduler"},
		{"/x", nil, Attr{Scheduler: &Scheduler{Policy: unix.SCHED_FIFO, Period: 1}}, "Scheduler"},
		{"/x", nil, Attr{Affinity: []int{}}, "Affinity"},
		{"/x", nil, Attr{Affinity: []int{-1}}, "Affinity[0]"},
		{"/x", nil, Attr{TimerSlack: -1}, "TimerSlack"},
		{"/x", nil, Attr{OOMScoreAdj: Ptr(1001)}, "OOMScoreAdj"},
		{"/x", nil, Attr{Setns: []Namespace{{FD: FD(1000)}}}, "Setns[0]"},
		{"/x", nil, Attr{Setns: []Namespace{{Pid: 1}}}, "Setns[0]"},
		{"/x", nil, Attr{Setns: []Namespace{{Flags: unix.CLONE_VM}}}, "Setns[0]"},
		{"/x", nil, Attr{Setns: []Namespace{{Pid: 1, Flags: unix.CLONE_NEWNET}}, Cloneflags: unix.CLONE_NEWPID}, "Setns[0]"},
		{"/x", nil, Attr{Pgid: Ptr(1), Cloneflags: unix.CLONE_NEWPID}, "Pgid"},
		{"/x", nil, Attr{Unshareflags: unix.CLONE_FILES}, "Unshareflags"},
		{"/x", nil, Attr{Hostname: "here"}, "Hostname"},
		{"/x", nil, Attr{Hostname: strings.Repeat("x", 65), Cloneflags: unix.CLONE_NEWUTS}, "Hostname"},
		{"/x", nil, Attr{PrivateMounts: true}, "PrivateMounts"},
		{"/x", nil, Attr{Mounts: []Mount{{Target: "/"}}}, "Mounts"},
		{"/x", nil, Attr{Mounts: []Mount{{}}, Cloneflags: unix.CLONE_NEWNS}, "Mounts[0]"},
		{"/x", nil, Attr{Mounts: []Mount{{Target: "/", Data: strings.Repeat("x", os.Getpagesize())}}, Cloneflags: unix.CLONE_NEWNS}, "Mounts[0]"},
		{"/x", nil, Attr{PivotRoot: "/"}, "PivotRoot"},
		{"/x", nil, Attr{Capabilities: &Capabilities{Effective: 1}}, "Capabilities"},
		{"/x", nil, Attr{Capabilities: &Capabilities{Permitted: 1}, Ambient: 1}, "Ambient"},
		{"/x", nil, Attr{Securebits: Ptr(-1)}, "Securebits"},
		{"/x", nil, Attr{Landlock: &Landlock{}}, "Landlock"},
		{"/x", nil, Attr{Landlock: &Landlock{FS: 1, Paths: []LandlockPath{{"/", 2}}}}, "Landlock.Paths[0]"},
		{"/x", nil, Attr{Landlock: &Landlock{Net: 1, Ports: []LandlockPort{{-1, 1}}}}, "Landlock.Ports[0]"},
		{"/x", nil, Attr{Seccomp: []BPF{}}, "Seccomp"},
		{"/x", nil, Attr{Ptrace: true, StartStopped: true}, "StartStopped"},
	}
)

// Bad input is refused before any process exists, and the error names the
// field.
func TestCompileRefuses(t *testing.T) {
	closed, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	network, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	other := []Namespace{{FD: network}} // than what the fields beside it need
	for _, test := range append(refusals,
		refusal{"/x", nil, Attr{Files: []File{{Parent: closed}}}, "Files[0]"},
		refusal{"/x", nil, Attr{Setns: other, Hostname: "here"}, "Hostname"},
		refusal{"/x", nil, Attr{Setns: other, PrivateMounts: true}, "PrivateMounts"},
		refusal{"/x", nil, Attr{Setns: other, PivotRoot: "/"}, "PivotRoot"},
	) {
		plan, err := Compile(test.path, test.argv, &test.attr)
		var refused *AttrError
		if !errors.As(err, &refused) || refused.Field != test.field || plan != nil {
			t.Errorf("%+v: got %v, want a refusal of %s", test, err, test.field)
		}
	}
}
