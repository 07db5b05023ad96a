//go:build linux

package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
	"github.com/vspawn/vspawn/tests/asmtest"
	"github.com/vspawn/vspawn/tests/helper"
	"github.com/vspawn/vspawn/tests/seccomp"
	"github.com/vspawn/vspawn/vspawn"
)

// ways are all the ways to start a process. Each starts exitHelper once and
// waits for it.
var ways = []struct {
	name  string
	start func() error
}{
	{"Vfork", startByVfork},
	{"Spawn by clone", func() error { return startBySpawn(asmtest.Clone) }},
	{"Spawn by clone3", func() error { return startBySpawn(asmtest.Clone3) }},
	{"plain", attr(vspawn.Attr{})},
	{"clone3 is unknown", denied(unix.ENOSYS, unix.SYS_CLONE3)},
	{"clone3 is forbidden", withoutGlibc(denied(unix.EPERM, unix.SYS_CLONE3))},
	{"close_range is unknown", denied(unix.ENOSYS, unix.SYS_CLOSE_RANGE)},
	{"pidfds are unknown", denied(unix.ENOSYS, unix.SYS_CLONE3, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL)},
	{"with a context", startWithContext},
	{"twice", startTwice},
	{"files", attr(vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: 2}, {Child: 2, Parent: 1}, {Child: 9, Parent: 1}}})},
	{"session", attr(vspawn.Attr{Setsid: true})},
	{"group", attr(vspawn.Attr{Pgid: vspawn.Ptr(0)})},
	{"terminal", startOnTerminal},
	{"limits and signals", attr(vspawn.Attr{
		Dir:            "/",
		Umask:          vspawn.Ptr(0o77),
		Rlimits:        []vspawn.Rlimit{{Resource: unix.RLIMIT_CORE}},
		SignalMask:     []syscall.Signal{unix.SIGUSR1},
		DefaultSignals: []syscall.Signal{unix.SIGPIPE},
		IgnoreSignals:  []syscall.Signal{unix.SIGHUP},
	})},
	{"credentials", attr(vspawn.Attr{UID: vspawn.Ptr(os.Getuid()), GID: vspawn.Ptr(os.Getgid()), KeepGroups: true})},
	{"parent-death signal", attr(vspawn.Attr{Pdeathsig: unix.SIGKILL})},
	{"namespaces", attr(vspawn.Attr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP,
	})},
	{"user namespace", attr(vspawn.Attr{
		Cloneflags: unix.CLONE_NEWUSER,
		UIDMap:     []vspawn.IDMap{{Inside: 0, Outside: os.Getuid(), Size: 1}},
		GIDMap:     []vspawn.IDMap{{Inside: 0, Outside: os.Getgid(), Size: 1}},
	})},
	{"cgroup", startInCgroup},
	{"chroot", attr(vspawn.Attr{Chroot: "/"})},
	{forks, startByFork},
}

// forks is the control: the one way that the test must find fault with.
const forks = "fork"

func startByFork() error {
	return startBySpawn(func(p *asmtest.Program) {
		p.Create = asm.Step{Nr: unix.SYS_CLONE, Args: [6]uintptr{uintptr(unix.SIGCHLD)}}
	})
}

// errNeeds is why a way is not there.
type errNeeds string

func (e errNeeds) Error() string { return "needs " + string(e) }

func startByVfork() error {
	argv, err := syscall.SlicePtrFromStrings(exitHelper.Argv("0"))
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
	p.List[0] = p.Execve(exitHelper.Argv("0"))
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
	argv := exitHelper.Argv("0")
	plan, err := vspawn.Compile(argv[0], argv, a)
	if err != nil {
		return err
	}
	return startPlan(ctx, plan)
}

func startPlan(ctx context.Context, plan *vspawn.Plan) error {
	p, err := plan.Start(ctx)
	if err != nil {
		return err
	}
	state, err := p.Wait(ctx)
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

// startTwice has a failure first, which ends before it execs.
func startTwice() error {
	_, err := vspawn.Start(context.Background(), "/nonexistent", []string{"x"}, nil)
	if !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("starting /nonexistent: %v, want ENOENT", err)
	}
	return startByVspawn(context.Background(), nil)
}

func denied(errno unix.Errno, calls ...uint32) func() error {
	return func() error {
		if err := seccomp.Deny(errno, calls...); err != nil {
			return err
		}
		return startByVspawn(context.Background(), nil)
	}
}

// withoutGlibc is for a program that glibc would keep from starting: where
// clone3 is forbidden it makes no threads. The race detector brings it.
func withoutGlibc(start func() error) func() error {
	return func() error {
		info, _ := debug.ReadBuildInfo()
		if slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
			return errNeeds("a test binary without glibc, which cannot do without clone3 here")
		}
		return start()
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
		Setsid: true, TTY: vspawn.Ptr(int(tty.Fd())), ControllingTTY: true, Foreground: true,
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
	return startByVspawn(context.Background(), &vspawn.Attr{Cgroup: vspawn.Ptr(int(f.Fd()))})
}

const exitNeeds = 3 // the way is not there, for the reason on stderr

var wayHelper = helper.New("way", func(args []string) int {
	for _, w := range ways {
		if w.name != args[0] {
			continue
		}
		err := w.start()
		if err == nil {
			return 0
		}
		fmt.Fprintln(os.Stderr, err)
		if errors.As(err, new(errNeeds)) {
			return exitNeeds
		}
		return 1
	}
	panic("no such way")
})

// traceHelper traces a command and all that it starts, prints their events,
// and exits as the command does. It is a process of its own since it waits for
// whatever child there is.
var traceHelper = helper.New("trace", func(args []string) int {
	runtime.LockOSThread() // the tracer is a thread
	tracee, err := syscall.ForkExec(args[0], args, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		panic(err)
	}
	var status unix.WaitStatus
	waitFor := func(pid int) (int, bool) {
		for {
			got, err := unix.Wait4(pid, &status, unix.WALL, nil)
			if err == unix.ECHILD {
				return 0, false
			}
			if err == nil {
				return got, true
			}
			if err != unix.EINTR {
				panic(err)
			}
		}
	}
	waitFor(tracee) // stopped after its exec
	const options = unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE |
		unix.PTRACE_O_TRACEVFORKDONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(tracee, options); err != nil {
		panic(err)
	}
	if err := unix.PtraceCont(tracee, 0); err != nil {
		panic(err)
	}

	code := 1
	began := map[int]bool{tracee: true}
	left := map[int]bool{} // processes that have exec'd or died
	var handle func(pid int)
	handle = func(pid int) {
		if !status.Stopped() {
			left[pid] = true
			if pid == tracee {
				code = status.ExitStatus()
			}
			return
		}
		sig := 0
		child, _ := unix.PtraceGetEventMsg(pid)
		switch status.TrapCause() {
		case unix.PTRACE_EVENT_FORK:
			fmt.Println("FORK", pid, child)
		case unix.PTRACE_EVENT_VFORK:
			fmt.Println("VFORK", pid, child)
		case unix.PTRACE_EVENT_CLONE:
			if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", pid, child)); err != nil {
				fmt.Println("CLONE", pid, child) // and not a thread
			}
		case unix.PTRACE_EVENT_EXEC:
			left[pid] = true
			fmt.Println("EXEC", pid, pid)
		case unix.PTRACE_EVENT_VFORK_DONE:
			// The kernel wakes the parent from within exec, a little before
			// the child's own event: let that go first.
			for !left[int(child)] {
				if _, ok := waitFor(int(child)); !ok {
					break
				}
				handle(int(child))
			}
			fmt.Println("VFORK_DONE", pid, child)
		default:
			if began[pid] {
				if s := status.StopSignal(); s != unix.SIGTRAP {
					sig = int(s)
				}
			}
			began[pid] = true // a new one stops with SIGSTOP first
		}
		unix.PtraceCont(pid, sig) // fails if it was killed meanwhile
	}
	for {
		pid, ok := waitFor(-1)
		if !ok {
			return code
		}
		handle(pid)
	}
})

// Every way to start a process is a vfork: its parent, under ptrace, has a
// VFORK event, then the child an EXEC, and then the parent a VFORK_DONE. There
// is no FORK event, and no CLONE but of threads.
func TestNeverFork(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			var events, complaints bytes.Buffer
			cmd := traceHelper.Command(wayHelper.Argv(w.name)...)
			cmd.Stdout, cmd.Stderr = &events, &complaints
			err := cmd.Run()
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() == exitNeeds {
				t.Skip(strings.TrimSpace(complaints.String()))
			}
			if err != nil {
				t.Fatalf("%v\n%s%s", err, &complaints, &events)
			}
			err = onlyVforks(events.String())
			if w.name == forks {
				if err == nil || !strings.Contains(err.Error(), "FORK") {
					t.Errorf("a fork passed for a vfork: %v in\n%s", err, &events)
				}
			} else if err != nil {
				t.Errorf("%v in\n%s", err, &events)
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
			return fmt.Errorf("%w: %q", err, line)
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
