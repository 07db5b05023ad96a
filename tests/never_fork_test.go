//go:build linux

package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/seccomp"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
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
		Dir:            "/",
		Umask:          vspawn.Ptr(0o77),
		Rlimits:        []vspawn.Rlimit{{Resource: unix.RLIMIT_CORE}},
		SignalMask:     []syscall.Signal{unix.SIGUSR1},
		DefaultSignals: []syscall.Signal{unix.SIGPIPE},
		IgnoreSignals:  []syscall.Signal{unix.SIGHUP},
	})},
	{name: "credentials", start: attr(vspawn.Attr{UID: vspawn.Ptr(os.Getuid()), GID: vspawn.Ptr(os.Getgid()), KeepGroups: true})},
	{name: "parent-death signal", start: attr(vspawn.Attr{Pdeathsig: unix.SIGKILL})},
	{name: "namespaces", start: privileged(vspawn.Attr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP,
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

// forks is the control: the one way that the test must find fault with.
const forks = "fork"

func startByFork() error {
	return startBySpawn(func(p *asmtest.Program) {
		p.Create = asm.Step{Nr: unix.SYS_CLONE, Args: [6]uintptr{uintptr(unix.SIGCHLD)}}
	})
}

// payload is the command line to start.
var payload []string

// errNeeds is why a way is not there.
type errNeeds string

func (e errNeeds) Error() string { return "needs " + string(e) }

func startByVfork() error {
	argv, err := syscall.SlicePtrFromStrings(payload)
	if err != nil {
		return err
	}
	var pid int
	withoutSignals(func() { pid = int(vforkAndExec(asmtest.Addr(argv[0]), asmtest.Addr(&argv[0]))) })
	runtime.KeepAlive(argv)
	if pid < 0 {
		return unix.Errno(-pid)
	}
	return waitForExit(asmtest.Wait(pid))
}

// vforkAndExec passes on no environment.
//
//go:nosplit
//go:norace
func vforkAndExec(path, argv uintptr) uintptr {
	pid := asm.Vfork()
	if pid != 0 {
		return pid
	}
	unix.RawSyscall(unix.SYS_EXECVE, path, argv, 0)
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
}

func startBySpawn(create asmtest.Create) error {
	p := asmtest.New(create, asm.Step{})
	p.List[0] = p.Execve(payload)
	_, ws, err := p.Run()
	return waitForExit(ws, err)
}

func waitForExit(ws unix.WaitStatus, err error) error {
	if err == nil && ws != 0 {
		err = fmt.Errorf("wait status %#x", ws)
	}
	return err
}

func attr(a vspawn.Attr) func() error {
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
	return func() error {
		if os.Geteuid() != 0 {
			return errNeeds("privileges")
		}
		return attr(a)()
	}
}

// ifSupported is attr for a kernel that need not have it.
func ifSupported(a vspawn.Attr, without ...unix.Errno) func() error {
	return func() error {
		err := attr(a)()
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

// wayHelper goes some of the ways. It says which one it is about to go, and
// then what has come in between.
var wayHelper = helper.New("way", func(args []string) int {
	payload = args[:1]
	for _, w := range ways {
		if !slices.Contains(args[1:], w.name) {
			continue
		}
		fmt.Println("WAY", w.name)
		var needs errNeeds
		if err := w.start(); errors.As(err, &needs) {
			fmt.Println("SKIP", err)
		} else if err != nil {
			fmt.Println("FAIL", err)
		}
	}
	return 0
})

// traceHelper traces wayHelper and all that it starts, and adds their events
// to its output. It is a process of its own since it waits for whatever child
// there is.
var traceHelper = helper.New("trace", func(args []string) int {
	runtime.LockOSThread() // the tracer is a thread
	var together []string
	for _, w := range ways {
		if w.alone {
			trace(wayHelper.Argv(args[0], w.name))
		} else {
			together = append(together, w.name)
		}
	}
	trace(wayHelper.Argv(append(args[:1:1], together...)...))
	return 0
})

func trace(argv []string) {
	tracee, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		panic(err)
	}
	tr := tracer{known: map[int]bool{tracee: true}, held: map[int]bool{}, left: map[int]bool{}}
	tr.wait(tracee) // stopped after its exec
	const options = unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE |
		unix.PTRACE_O_TRACEVFORKDONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(tracee, options); err != nil {
		panic(err)
	}
	if err := unix.PtraceCont(tracee, 0); err != nil {
		panic(err)
	}
	for tr.wait(-1) {
		tr.handle()
	}
}

// A tracer is at what the last wait told.
type tracer struct {
	pid    int
	status unix.WaitStatus
	known  map[int]bool // those whose parent has had its event
	held   map[int]bool // those that have not, and wait for it
	left   map[int]bool // processes that have exec'd or died
}

// wait tells whether there is anyone left to wait for.
func (tr *tracer) wait(pid int) bool {
	for {
		var err error
		tr.pid, err = unix.Wait4(pid, &tr.status, unix.WALL, nil)
		switch err {
		case nil:
			return true
		case unix.ECHILD:
			return false
		case unix.EINTR:
		default:
			panic(err)
		}
	}
}

func (tr *tracer) handle() {
	pid, status := tr.pid, tr.status
	if !status.Stopped() {
		tr.left[pid] = true
		return
	}
	msg, _ := unix.PtraceGetEventMsg(pid)
	child, sig := int(msg), 0
	switch status.TrapCause() {
	case unix.PTRACE_EVENT_FORK:
		fmt.Println("FORK", pid, child)
		tr.born(child)
	case unix.PTRACE_EVENT_VFORK:
		fmt.Println("VFORK", pid, child)
		tr.born(child)
	case unix.PTRACE_EVENT_CLONE:
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", pid, child)); err != nil {
			fmt.Println("CLONE", pid, child) // and not a thread
		}
		tr.born(child)
	case unix.PTRACE_EVENT_EXEC:
		fmt.Println("EXEC", pid, pid)
		tr.left[pid] = true
	case unix.PTRACE_EVENT_VFORK_DONE:
		// The kernel wakes the parent from within exec, a little before the
		// child's own event: let that go first.
		for !tr.left[child] && tr.wait(child) {
			tr.handle()
		}
		fmt.Println("VFORK_DONE", pid, child)
	default:
		switch s := status.StopSignal(); {
		case !tr.known[pid]: // the SIGSTOP that a new one begins with
			tr.held[pid] = true
			return
		case s != unix.SIGTRAP && s != unix.SIGSTOP:
			sig = int(s)
		}
	}
	unix.PtraceCont(pid, sig) // fails if it was killed meanwhile
}

// born lets a new one go that has come before its parent's event.
func (tr *tracer) born(pid int) {
	tr.known[pid] = true
	if tr.held[pid] {
		delete(tr.held, pid)
		unix.PtraceCont(pid, 0)
	}
}

// Every way to start a process is a vfork: its parent, under ptrace, has a
// VFORK event, then the child an EXEC, and then the parent a VFORK_DONE. There
// is no FORK event, and no CLONE but of threads.
func TestNeverFork(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	wayHelper.Argv() // traceHelper uses it
	out, err := traceHelper.Command(tiny.Exit(t, 0)).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	gone := map[string]string{} // events by way
	for part := range strings.SplitSeq(string(out), "WAY ") {
		name, events, _ := strings.Cut(part, "\n")
		gone[name] = events
	}
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			events, ok := gone[w.name]
			if !ok {
				t.Fatalf("nothing came of it; all output:\n%s", out)
			}
			if _, reason, ok := strings.Cut(events, "SKIP "); ok {
				t.Skip(strings.TrimSpace(reason))
			}
			err := onlyVforks(events)
			if w.name == forks {
				if err == nil || !strings.Contains(err.Error(), "FORK") {
					t.Errorf("a fork passed for a vfork: %v in\n%s", err, events)
				}
			} else if err != nil {
				t.Errorf("%v in\n%s", err, events)
			}
		})
	}
}

// onlyVforks checks the events of a process that starts one other. Children
// that die without an exec (they probe what the kernel has) are vforks too.
func onlyVforks(events string) error {
	execs := 0
	in := map[int]int{} // the child of each thread that is in vfork
	of := map[int]int{} // and that child's thread
	for line := range strings.Lines(events) {
		var event string
		var pid, child int
		if _, err := fmt.Sscan(line, &event, &pid, &child); err != nil {
			return errors.New(line)
		}
		if in[pid] != 0 && event != "VFORK_DONE" {
			return fmt.Errorf("the parent is busy in its vfork: %s", line)
		}
		switch event {
		case "VFORK":
			in[pid], of[child] = child, pid
		case "EXEC":
			if of[pid] == 0 {
				return fmt.Errorf("an exec outside of a vfork: %s", line)
			}
			delete(of, pid)
			execs++
		case "VFORK_DONE":
			if in[pid] != child {
				return fmt.Errorf("no such vfork: %s", line)
			}
			delete(in, pid)
			delete(of, child)
		default:
			return fmt.Errorf("no vfork: %s", line)
		}
	}
	if execs != 1 || len(in) != 0 {
		return fmt.Errorf("%d children have exec'd and %d are in vfork; want 1, 0", execs, len(in))
	}
	return nil
}
