//go:build linux

package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/seccomp"
	"github.com/vspawn/vspawn/vspawn"
	"github.com/vspawn/vspawn/vspawn/exec"
)

// A way is one way to start a process: its start starts the payload once, and
// waits for it.
type way struct {
	name  string
	start func() error
	alone bool // changes the process that it runs in
}

var ways = []way{
	{name: "Vfork", start: startByVfork},
	{name: "Spawn by clone", start: func() error { return startBySpawn(asmtest.Clone) }},
	{name: "Spawn by clone3", start: func() error { return startBySpawn(asmtest.Clone3) }},
	{name: "plain", start: attr(vspawn.Attr{})},
	{name: "with a context", start: startWithContext},
	{name: "after a failure", start: startAfterFailure},
	{name: "files", start: attr(vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: vspawn.FD(2)}, {Child: 2, Parent: vspawn.FD(1)}, {Child: 9, Parent: vspawn.FD(1)}}})},
	{name: "session", start: attr(vspawn.Attr{Setsid: true})},
	{name: "group", start: attr(vspawn.Attr{Pgid: vspawn.Ptr(0)})},
	{name: "terminal", start: startOnTerminal},
	{name: "limits and signals", start: attr(vspawn.Attr{
		Env:            []string{"A=1"},
		Dir:            "/",
		Umask:          vspawn.Ptr(0o77),
		Rlimits:        []vspawn.Rlimit{{Resource: unix.RLIMIT_CORE}},
		SignalMask:     []syscall.Signal{unix.SIGUSR1},
		DefaultSignals: []syscall.Signal{unix.SIGPIPE},
		IgnoreSignals:  []syscall.Signal{unix.SIGHUP},
	})},
	{name: "credentials", start: attr(vspawn.Attr{UID: vspawn.Ptr(os.Getuid()), GID: vspawn.Ptr(os.Getgid()), KeepGroups: true})},
	{name: "groups", start: privileged(vspawn.Attr{Groups: []int{0}})},
	{name: "the caller's own calls", start: attr(vspawn.Attr{Syscalls: []vspawn.Syscall{{Nr: unix.SYS_GETPID}}})},
	{name: "parent-death signal", start: attr(vspawn.Attr{Pdeathsig: unix.SIGKILL})},
	{name: "death with the parent", start: attr(vspawn.Attr{DieWithParent: true})},
	{name: "namespaces", start: privileged(vspawn.Attr{
		Cloneflags:    unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP,
		PrivateMounts: true,
	})},
	{name: "user namespace", start: attr(vspawn.Attr{
		Cloneflags: unix.CLONE_NEWUSER,
		UIDMap:     []vspawn.IDMap{{Inside: 0, Outside: os.Getuid(), Size: 1}},
		GIDMap:     []vspawn.IDMap{{Inside: 0, Outside: os.Getgid(), Size: 1}},
	})},
	{name: "cgroup", start: startInCgroup},
	{name: "chroot", start: privileged(vspawn.Attr{Chroot: "/"})},
	{name: "by descriptors", start: startByDescriptor},
	{name: "opened and inherited files", start: attr(vspawn.Attr{
		InheritFiles: true,
		CloseRanges:  []vspawn.Range{{First: 100, NoEnd: true}},
		Files:        []vspawn.File{{Child: 0, Path: os.DevNull}},
	})},
	{name: "scheduling", start: attr(vspawn.Attr{
		Scheduler:   &vspawn.Scheduler{Policy: unix.SCHED_BATCH},
		Nice:        vspawn.Ptr(19),
		IOPriority:  &vspawn.IOPriority{Class: 2, Level: 7},
		Affinity:    []int{0, 1, 2, 3, 4, 5, 6, 7},
		TimerSlack:  time.Millisecond,
		OOMScoreAdj: vspawn.Ptr(1000),
		Personality: vspawn.Ptr[uintptr](0),
	})},
	{name: "core scheduling", start: ifSupported(vspawn.Attr{CoreSched: true}, unix.EINVAL, unix.ENODEV)},
	{name: "keyring", start: ifSupported(vspawn.Attr{NewKeyring: true}, unix.ENOSYS)},
	{name: "capabilities", start: privileged(vspawn.Attr{
		KeepCaps:     true,
		Securebits:   vspawn.Ptr(secbitNoroot),
		Bounding:     vspawn.Ptr(vspawn.Caps(someCap)),
		Capabilities: &vspawn.Capabilities{Permitted: vspawn.Caps(someCap), Inheritable: vspawn.Caps(someCap)},
		Ambient:      vspawn.Caps(someCap),
	})},
	{name: "Landlock", start: ifSupported(vspawn.Attr{
		NoNewPrivs: true,
		Landlock: &vspawn.Landlock{FS: unix.LANDLOCK_ACCESS_FS_READ_DIR,
			Paths: []vspawn.LandlockPath{{Path: "/", Allow: unix.LANDLOCK_ACCESS_FS_READ_DIR}}},
	}, unix.ENOSYS, unix.EOPNOTSUPP)},
	{name: "seccomp", start: attr(vspawn.Attr{NoNewPrivs: true, Seccomp: deny(unix.SYS_GETSID, errFilter)})},
	{name: "other namespaces", start: startInOthers},
	{name: "mounts", start: privileged(vspawn.Attr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS,
		Hostname:   "box",
		Mounts:     []vspawn.Mount{{Source: "x", Target: "/proc", Type: "tmpfs"}},
	})},
	{name: "vspawn/exec", start: func() error { return exec.Command(payload[0], payload[1:]...).Run() }},
	{name: "clone3 is unknown", alone: true, start: denied(unix.ENOSYS, unix.SYS_CLONE3)},
	{name: "clone3 is forbidden", alone: true, start: denied(unix.EPERM, unix.SYS_CLONE3)},
	{name: "close_range is unknown", alone: true, start: denied(unix.ENOSYS, unix.SYS_CLOSE_RANGE)},
	{name: "pidfds are unknown", alone: true, start: denied(unix.ENOSYS, unix.SYS_CLONE3, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL)},
	{name: forks, start: startByFork},
}

// inWays are the fields of Attr that a way has.
var inWays = map[string]bool{}

// attr is the start of a way.
func attr(a vspawn.Attr) func() error {
	for i, v := 0, reflect.ValueOf(a); i < v.NumField(); i++ {
		if !v.Field(i).IsZero() {
			inWays[v.Type().Field(i).Name] = true
		}
	}
	return func() error { return startByVspawn(context.Background(), &a) }
}

func startByVspawn(ctx context.Context, a *vspawn.Attr) error {
	return waitFor(vspawn.Start(ctx, payload[0], payload, a))
}

func waitFor(p *vspawn.Process, err error) error {
	if err != nil {
		return err
	}
	state, err := p.Wait(context.Background())
	if err == nil && !state.Success() {
		err = errors.New(state.String())
	}
	return err
}

func startWithContext() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	return startByVspawn(ctx, &vspawn.Attr{})
}

// startAfterFailure has a child before that ends without an exec.
func startAfterFailure() error {
	_, err := vspawn.Start(context.Background(), "/nonexistent", []string{"x"}, nil)
	if !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("starting /nonexistent: %v, want ENOENT", err)
	}
	return startByVspawn(context.Background(), nil)
}

// privileged is attr for who may have what root may.
func privileged(a vspawn.Attr) func() error {
	start := attr(a)
	return func() error {
		if os.Geteuid() != 0 {
			return errNeeds("privileges")
		}
		return start()
	}
}

// ifSupported is attr for a kernel that need not have it.
func ifSupported(a vspawn.Attr, without ...unix.Errno) func() error {
	start := attr(a)
	return func() error {
		err := start()
		if slices.ContainsFunc(without, func(e unix.Errno) bool { return errors.Is(err, e) }) {
			return errNeeds("a kernel that has it: " + err.Error())
		}
		return err
	}
}

func startByDescriptor() error {
	program, err := os.Open(payload[0])
	if err != nil {
		return err
	}
	defer program.Close()
	root, err := os.Open("/")
	if err != nil {
		return err
	}
	defer root.Close()
	p, err := vspawn.Start(context.Background(), "", payload, &vspawn.Attr{
		ExecFD: program, DirFD: root,
	})
	return waitFor(p, err)
}

// startInOthers enters a namespace that we are in already, and makes others.
func startInOthers() error {
	f, err := os.Open("/proc/self/ns/uts")
	if err != nil {
		return err
	}
	defer f.Close()
	return privileged(vspawn.Attr{
		Setns:        []vspawn.Namespace{{FD: f}},
		Unshareflags: unix.CLONE_NEWIPC | unix.CLONE_NEWNS,
	})()
}

func denied(errno unix.Errno, calls ...uint32) func() error {
	return func() error {
		if err := seccomp.Deny(errno, calls...); err != nil {
			return err
		}
		return startByVspawn(context.Background(), nil)
	}
}

func startOnTerminal() error {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return errNeeds(err.Error())
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return err
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer tty.Close()
	return startByVspawn(context.Background(), &vspawn.Attr{
		Setsid: true, TTY: tty, ControllingTTY: true, Foreground: true,
	})
}

func startInCgroup() error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return errNeeds("cgroup v2 on /sys/fs/cgroup")
	}
	dir, err := os.MkdirTemp("/sys/fs/cgroup", "vspawn")
	if err != nil {
		return errNeeds("a cgroup of its own: " + err.Error())
	}
	defer os.Remove(dir)
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return startByVspawn(context.Background(), &vspawn.Attr{Cgroup: f})
}

// Each attribute is in one of the ways, or there is a reason why it need not be.
func TestEveryAttributeHasAWay(t *testing.T) {
	others := map[string]string{
		"TTY": "startOnTerminal", "ControllingTTY": "startOnTerminal", "Foreground": "startOnTerminal",
		"Cgroup": "startInCgroup",
		"DirFD":  "startByDescriptor", "ExecFD": "startByDescriptor",
		"Setns": "startInOthers", "Unshareflags": "startInOthers",
		"AllowSetgroups": "the parent alone heeds it, in what it writes",
		"PivotRoot":      "a step like those of Mounts, and it needs a root to go to",
		"Ptrace":         "the tracer would be the process that is watched",
		"StartStopped":   "nobody would wake it",
	}
	v := reflect.TypeFor[vspawn.Attr]()
	for i := range v.NumField() {
		field := v.Field(i).Name
		if inWays[field] == (others[field] != "") {
			t.Errorf("Attr.%s: in a row of ways: %v, and elsewhere: %q", field, inWays[field], others[field])
		}
	}
}
