//go:build linux

package tests

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// A faultScenario is a start. All together make each call that the library knows.
type faultScenario struct {
	name    string
	setUp   func(t *testing.T, s *faultSetting) // in the test, which it may skip
	prepare func(s *faultSetting)               // in the process that starts, once
	attr    func(s *faultSetting) *vspawn.Attr  // there, for each start
	locked  bool                                // it starts from one thread
	reads   bool                                // all faults of the parent's reads are tried
}

var faultScenarios = []faultScenario{
	{name: "nothing", attr: func(*faultSetting) *vspawn.Attr { return &vspawn.Attr{} }},
	{name: "files", attr: func(s *faultSetting) *vspawn.Attr {
		return &vspawn.Attr{Dir: s.Dir, Umask: vspawn.Ptr(0o27), Pgid: vspawn.Ptr(0),
			Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_CORE}},
			Files: []vspawn.File{{Child: 0, Path: os.DevNull},
				{Child: 1, Parent: vspawn.FD(2)}, {Child: 2, Parent: vspawn.FD(1)},
				{Child: 5, Path: filepath.Join(s.Dir, "made"), Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o600}}}
	}},
	{name: "inherited files", attr: func(s *faultSetting) *vspawn.Attr {
		return &vspawn.Attr{InheritFiles: true, CloseRanges: []vspawn.Range{{First: 200, NoEnd: true}}, DirFD: vspawn.FD(0),
			Files: []vspawn.File{{Child: 0, Path: os.DevNull},
				{Child: 1, Parent: vspawn.FD(2)}, {Child: 2, Parent: vspawn.FD(1)}}}
	}, prepare: func(s *faultSetting) { putAt(0, s.Dir) }},
	{name: "reserve", attr: func(*faultSetting) *vspawn.Attr {
		return &vspawn.Attr{Files: append(inherited()[1:],
			vspawn.File{Child: 0, Parent: vspawn.FD(200)}, vspawn.File{Child: 7, Parent: vspawn.FD(201)})}
	}, prepare: func(*faultSetting) {
		putAt(200, os.DevNull)
		putAt(201, os.DevNull)
		if err := vspawn.Reserve(6); err != nil {
			panic(err)
		}
	}},
	{name: "scheduling", attr: func(*faultSetting) *vspawn.Attr {
		return &vspawn.Attr{Nice: vspawn.Ptr(7), IOPriority: &vspawn.IOPriority{Class: 2, Level: 6}, Affinity: []int{0},
			Scheduler: &vspawn.Scheduler{Policy: unix.SCHED_BATCH}, TimerSlack: 70_000, OOMScoreAdj: vspawn.Ptr(700),
			Personality: vspawn.Ptr[uintptr](0), NewKeyring: true}
	}},
	{name: "core scheduling", setUp: func(t *testing.T, _ *faultSetting) { needCoreSched(t) },
		attr: func(*faultSetting) *vspawn.Attr { return &vspawn.Attr{CoreSched: true} }},
	{name: "signals", attr: func(*faultSetting) *vspawn.Attr {
		return &vspawn.Attr{SignalMask: []syscall.Signal{unix.SIGUSR1}, DefaultSignals: []syscall.Signal{unix.SIGHUP},
			IgnoreSignals: []syscall.Signal{unix.SIGINT, unix.SIGTERM}}
	}},
	{name: "terminal", setUp: func(t *testing.T, s *faultSetting) {
		s.files = []*os.File{os.NewFile(uintptr(dup(t, terminal(t))), "terminal")}
		t.Cleanup(func() { s.files[0].Close() })
	}, attr: func(*faultSetting) *vspawn.Attr {
		return &vspawn.Attr{Setsid: true, TTY: vspawn.FD(firstFaultFile), ControllingTTY: true, Foreground: true}
	}},
	{name: "credentials", setUp: func(t *testing.T, _ *faultSetting) {
		needCapability(t, unix.CAP_SETUID, "become another")
		needCapability(t, unix.CAP_SETPCAP, "give capabilities up")
	}, attr: func(*faultSetting) *vspawn.Attr {
		set := vspawn.Caps(unix.CAP_NET_BIND_SERVICE)
		return &vspawn.Attr{UID: vspawn.Ptr(1000), GID: vspawn.Ptr(1000), Groups: []int{4, 5}, Ambient: set,
			Capabilities: &vspawn.Capabilities{Permitted: set, Effective: set, Inheritable: set},
			Bounding:     vspawn.Ptr(set), Securebits: vspawn.Ptr(0), KeepCaps: true, NoNewPrivs: true}
	}},
	{name: "another user with an oom_score_adj", setUp: func(t *testing.T, _ *faultSetting) {
		needCapability(t, unix.CAP_SETUID, "become another")
	}, attr: func(*faultSetting) *vspawn.Attr {
		return &vspawn.Attr{UID: vspawn.Ptr(1000), OOMScoreAdj: vspawn.Ptr(300), Dir: "/",
			Files: []vspawn.File{{Child: 0, Path: os.DevNull}}}
	}},
	{name: "id maps", setUp: func(t *testing.T, _ *faultSetting) { needUserNamespaces(t) },
		attr: func(*faultSetting) *vspawn.Attr {
			return &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: ownID(os.Getuid()), GIDMap: ownID(os.Getgid()),
				UID: vspawn.Ptr(0), GID: vspawn.Ptr(0), KeepGroups: true}
		}, reads: true}, // at each moment of the child's question
	{name: "id maps and an oom_score_adj", setUp: func(t *testing.T, _ *faultSetting) { needUserNamespaces(t) },
		attr: func(*faultSetting) *vspawn.Attr {
			return &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: ownID(os.Getuid()), OOMScoreAdj: vspawn.Ptr(300)}
		}, reads: true},
	{name: "stopped", attr: func(*faultSetting) *vspawn.Attr {
		return &vspawn.Attr{StartStopped: true, OOMScoreAdj: vspawn.Ptr(300)}
	}},
	{name: "traced", locked: true, attr: func(*faultSetting) *vspawn.Attr { return &vspawn.Attr{Ptrace: true} }},
	{name: "cgroup", setUp: func(t *testing.T, s *faultSetting) {
		dir, _ := cgroup(t)
		if !newEnough(5, 7) {
			t.Skip("there is no CLONE_INTO_CGROUP (Linux 5.7)")
		}
		s.files = []*os.File{dir}
	}, attr: func(*faultSetting) *vspawn.Attr { return &vspawn.Attr{Cgroup: vspawn.FD(firstFaultFile)} }},
	{name: "death signal", attr: func(*faultSetting) *vspawn.Attr { return &vspawn.Attr{Pdeathsig: unix.SIGKILL} }},
	{name: "death with the parent", attr: func(*faultSetting) *vspawn.Attr { return &vspawn.Attr{DieWithParent: true, NoNewPrivs: true} }},
	{name: "death signal in a PID namespace", setUp: needForNamespaces, attr: func(*faultSetting) *vspawn.Attr {
		return &vspawn.Attr{Pdeathsig: unix.SIGKILL, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWIPC}
	}},
	{name: "program by descriptor", setUp: func(t *testing.T, s *faultSetting) {
		program, err := os.Open(tiny.Argv(t)[0])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { program.Close() })
		s.files = []*os.File{program}
	}, attr: func(*faultSetting) *vspawn.Attr { return &vspawn.Attr{ExecFD: vspawn.FD(firstFaultFile)} }},
	{name: "namespaces", setUp: needForNamespaces, attr: func(s *faultSetting) *vspawn.Attr {
		return &vspawn.Attr{Cloneflags: unix.CLONE_NEWNS, Unshareflags: unix.CLONE_NEWUTS, Hostname: "box",
			Setns:  []vspawn.Namespace{{Pid: os.Getppid(), Flags: unix.CLONE_NEWIPC}},
			Mounts: []vspawn.Mount{{Source: "x", Target: s.Dir, Type: "tmpfs"}}}
	}},
	{name: "another's namespace", setUp: func(t *testing.T, s *faultSetting) {
		needCapability(t, unix.CAP_SYS_ADMIN, "make namespaces")
		box := waiting(t, &vspawn.Attr{Cloneflags: unix.CLONE_NEWUTS})
		ns, err := os.Open("/proc/" + strconv.Itoa(box.Pid()) + "/ns/uts")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ns.Close() })
		s.files = []*os.File{ns}
	}, attr: func(*faultSetting) *vspawn.Attr {
		return &vspawn.Attr{Setns: []vspawn.Namespace{{FD: vspawn.FD(firstFaultFile)}}, Hostname: "box"}
	}},
	{name: "root", setUp: func(t *testing.T, s *faultSetting) { s.Dir = newRoot(t) },
		attr: func(s *faultSetting) *vspawn.Attr { return &vspawn.Attr{Chroot: s.Dir, Dir: "/sub"} }},
	{name: "pivot", setUp: func(t *testing.T, s *faultSetting) {
		needCapability(t, unix.CAP_SYS_ADMIN, "mount")
		if os.Getenv("VSPAWN_TARGET") != "" {
			t.Skip("a guest's own root can't be moved (initramfs)")
		}
		putPuppet(t, s.Dir)
	}, attr: func(s *faultSetting) *vspawn.Attr {
		return &vspawn.Attr{Cloneflags: unix.CLONE_NEWNS, PivotRoot: s.Dir,
			Mounts: []vspawn.Mount{{Source: s.Dir, Target: s.Dir, Flags: unix.MS_BIND}}}
	}},
	{name: "sandbox", setUp: func(t *testing.T, _ *faultSetting) { needLandlock(t, 1) },
		attr: func(*faultSetting) *vspawn.Attr {
			return &vspawn.Attr{NoNewPrivs: true, Landlock: landlocked.Landlock,
				Seccomp: deny(unix.SYS_SETHOSTNAME, errFilter)}
		}},
}

func needForNamespaces(t *testing.T, _ *faultSetting) {
	t.Helper()
	needCapability(t, unix.CAP_SYS_ADMIN, "make namespaces")
}

// putAt opens a file as that descriptor.
func putAt(fd int, path string) {
	opened, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Dup3(opened, fd, unix.O_CLOEXEC)
	}
	if err != nil {
		panic(err)
	}
	unix.Close(opened)
}

// dup is another descriptor of the same file.
func dup(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
