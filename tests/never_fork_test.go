//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

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
