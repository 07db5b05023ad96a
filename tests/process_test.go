//go:build linux

package tests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// Parent and child agree on who is who, whichever thread of the parent has
// started the child. To a second thread of the child the same holds.
func TestPids(t *testing.T) {
	onSecondThread(func() {
		s, err := reportGo(t, &vspawn.Attr{}, func(p *vspawn.Process) {
			equal(t, "parent, as /proc tells", stat(strconv.Itoa(p.Pid())).ppid, os.Getpid())
			if all := children(t, os.Getpid()); !slices.Contains(all, p.Pid()) {
				t.Errorf("the children of %d are %v, as /proc tells, and not %d", os.Getpid(), all, p.Pid())
			}
		})
		if err != nil {
			t.Error(err)
			return
		}
		equal(t, "parent's thread group", statusField("self", "Tgid"), strconv.Itoa(os.Getpid()))
		equal(t, "child's parent", s.Ppid, os.Getpid())
		equal(t, "child's thread group", s.Tgid, s.Pid)
		equal(t, "child's main thread", s.Tid, s.Pid)
		equal(t, "second thread's process", s.Second.Pid, s.Pid)
		equal(t, "second thread's parent", s.Second.Ppid, s.Ppid)
		if s.Second.Tid == s.Pid || !slices.Contains(s.Tasks, s.Second.Tid) || !slices.Contains(s.Tasks, s.Pid) {
			t.Errorf("the child has the threads %v, a second thread is %d", s.Tasks, s.Second.Tid)
		}
	})
}

// onSecondThread runs f on a thread that is not the main one.
func onSecondThread(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() { // the main thread being ours, it gets another
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		f()
	}()
	<-done
}

// A child's child, and so on, is where it belongs in the tree.
func TestTree(t *testing.T) {
	inR, inW := blockingPipe(t)
	outR, outW := blockingPipe(t)
	p, err := start(t, treeHelper.Argv("2"), &vspawn.Attr{Files: []vspawn.File{{Child: 0, Parent: inR}, {Child: 1, Parent: outW}, {Child: 2, Parent: vspawn.FD(2)}}})
	if err != nil {
		t.Fatal(err)
	}
	outW.Close()
	if _, err := outR.Read(make([]byte, 1)); err != nil { // the last of them is there
		t.Error(err)
	}
	pid := p.Pid()
	for level := range 3 {
		pids := children(t, pid)
		if level == 2 {
			equal(t, "children of the last", len(pids), 0)
			break
		}
		if len(pids) != 1 {
			t.Fatalf("the child at level %d has the children %v, want one", level, pids)
		}
		pid = pids[0]
	}
	inW.Close()
	wait(t, p, "exit status 0")
}

// treeHelper has as many generations below it as its argument says. The last
// says so, and all end with the standard input.
var treeHelper *helper.Helper

func init() {
	treeHelper = helper.New("tree", func(args []string) int {
		n, err := strconv.Atoi(args[0])
		if err != nil {
			panic(err)
		}
		if n == 0 {
			os.Stdout.WriteString("x")
			io.Copy(io.Discard, os.Stdin)
			return 0
		}
		argv := treeHelper.Argv(strconv.Itoa(n - 1))
		return relay(vspawn.Start(noContext, program(argv), argv, nil))
	})
}

// How a child ended is told: its exit status, or the signal.
func TestEnds(t *testing.T) {
	noCore := []vspawn.Rlimit{{Resource: unix.RLIMIT_CORE}}
	for _, status := range []byte{0, 1, 42, 127, 255} {
		t.Run(fmt.Sprint("exit ", status), func(t *testing.T) {
			p, err := start(t, exits(t, status), &vspawn.Attr{})
			if err != nil {
				t.Fatal(err)
			}
			s := wait(t, p, fmt.Sprintf("exit status %d", status))
			if !s.Exited() || s.Signaled() || s.Stopped() || s.Continued() || s.ExitCode() != int(status) || s.Success() != (status == 0) || s.Signal() != -1 || s.Pid() != p.Pid() {
				t.Errorf("its parts contradict %v", s)
			}
		})
	}
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGUSR1, unix.SIGSEGV, unix.SIGABRT} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			p := killed(t, sig, &vspawn.Attr{Rlimits: noCore})
			s := wait(t, p, "signal: "+sig.String())
			if s.Exited() || !s.Signaled() || s.CoreDump() || s.Signal() != sig || s.ExitCode() != -1 || s.Success() {
				t.Errorf("its parts contradict %v", s)
			}
		})
	}
	t.Run("core", func(t *testing.T) {
		helper.SkipEmulated(t, "core dumps by the kernel")
		if pattern := words("/proc/sys/kernel/core_pattern"); strings.ContainsAny(pattern, "|/") {
			t.Skipf("cores go elsewhere than to the working directory: core_pattern is %q", pattern)
		}
		var l unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_CORE, &l); err != nil || l.Max < 1<<20 {
			t.Skip("RLIMIT_CORE forbids cores: ", l, err)
		}
		attr := &vspawn.Attr{Dir: t.TempDir(), Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_CORE, Soft: 1 << 20, Hard: l.Max}}}
		p := killed(t, unix.SIGABRT, attr)
		if s := wait(t, p, "signal: aborted (core dumped)"); !s.CoreDump() {
			t.Error("CoreDump is false")
		}
	})
}

// KillCgroup kills all that is in a cgroup, and nothing else.
func TestKillCgroup(t *testing.T) {
	dir, _ := cgroup(t)
	if err := vspawn.KillCgroup(int(dir.Fd())); errors.Is(err, unix.ENOENT) && !newEnough(5, 14) {
		t.Skip("the kernel has no cgroup.kill (Linux 5.14): ", err)
	}
	other := waiting(t, &vspawn.Attr{})
	var members []*vspawn.Process
	for range 2 {
		members = append(members, waiting(t, &vspawn.Attr{Cgroup: dir}))
	}
	if err := vspawn.KillCgroup(int(dir.Fd())); err != nil {
		t.Fatal(err)
	}
	for _, p := range members {
		wait(t, p, "signal: killed")
	}
	if s, err := other.Poll(); s != nil || err != nil {
		t.Errorf("another child: %v, %v", s, err)
	}
	r, _ := blockingPipe(t)
	var e *vspawn.Error
	if err := vspawn.KillCgroup(int(r.Fd())); !errors.As(err, &e) || e.Step != "openat" || e.Object != "cgroup.kill" {
		t.Errorf("of a pipe: %v", err)
	}
}

// killed is a child that has sent itself a signal.
func killed(t *testing.T, sig unix.Signal, attr *vspawn.Attr) *vspawn.Process {
	t.Helper()
	puppet := tiny.New(t)
	argv := tiny.Argv(t)
	p, err := vspawn.Start(t.Context(), argv[0], argv, withFile(attr, tiny.FD, puppet.Child))
	if err != nil {
		t.Fatal(err)
	}
	if err := puppet.Do(&tiny.Call{Nr: unix.SYS_KILL, Args: []any{p.Pid(), int(sig)}}); err == nil {
		t.Error("the child has survived")
	}
	return p
}

// What a child has used is told with its end.
func TestRusage(t *testing.T) {
	r, w := blockingPipe(t)
	p, err := start(t, spinHelper.Argv(), &vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: w}, {Child: 2, Parent: vspawn.FD(2)}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	out, _ := io.ReadAll(r)
	own, err := strconv.ParseInt(string(out), 10, 64)
	if err != nil {
		t.Error(err)
	}
	u := wait(t, p, "exit status 0").Rusage()
	if told := u.Utime.Nano() + u.Stime.Nano(); told < own || own < int64(spin) {
		t.Errorf("the child says that it took %v, its parent is told %v", time.Duration(own), time.Duration(told))
	}
	if u.Maxrss == 0 && helper.MMU() { // without one there is no such count
		t.Error("the child took no memory")
	}
}

const spin = 20 * time.Millisecond

// spinHelper takes some processor time and says how much.
var spinHelper = helper.New("spin", func([]string) int {
	for {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			panic(err)
		}
		if used := u.Utime.Nano() + u.Stime.Nano(); used > int64(spin) {
			fmt.Print(used)
			return 0
		}
	}
})

// A child that is stopped, and continued, is seen to be so, each once.
func TestStoppedAndContinued(t *testing.T) {
	helper.SkipEmulated(t, "threads that a stop signal stops")
	p := waiting(t, &vspawn.Attr{})
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errEnough)
	for range 2 {
		for _, change := range []struct {
			signal  unix.Signal
			wait    vspawn.Change
			want    string
			stopped bool
		}{
			{unix.SIGSTOP, vspawn.Stopped, "stopped: stopped (signal)", true},
			{unix.SIGCONT, vspawn.Continued, "continued", false},
		} {
			if err := p.Signal(change.signal); err != nil {
				t.Fatal(err)
			}
			s, err := p.WaitFor(t.Context(), change.wait|vspawn.Exited)
			if err != nil {
				t.Fatal(err)
			}
			if s.String() != change.want || s.Stopped() != change.stopped || s.Continued() == change.stopped {
				t.Errorf("after %v: %v, want %s", change.signal, s, change.want)
			}
			if state := stat(strconv.Itoa(p.Pid())).state; (state == "T") != change.stopped {
				t.Errorf("after %v the child's state is %s", change.signal, state)
			}
			if s, err := p.WaitFor(ended, change.wait); err != errEnough {
				t.Errorf("after %v twice: %v, %v", change.signal, s, err)
			}
		}
	}
}

// A child that has ended is a zombie until it is waited for, and then gone.
func TestZombie(t *testing.T) {
	p, err := start(t, exits(t, 0), &vspawn.Attr{})
	if err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(p.Pid())
	if err := unix.Waitid(unix.P_PID, p.Pid(), nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Error(err)
	}
	equal(t, "state before the wait", stat(pid).state, "Z")
	equal(t, "error of a signal to a zombie", p.Signal(unix.SIGTERM), nil)
	wait(t, p, "exit status 0")
	equal(t, "state after the wait", stat(pid).state, "")
	equal(t, "error of kill", unix.Kill(p.Pid(), 0), error(unix.ESRCH))
	if err := p.Signal(unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal after the wait: %v", err)
	}
}

// A start goes on waiting for its own child when another ends.
func TestOtherEnds(t *testing.T) {
	helper.SkipEmulated(t, "vfork that suspends the parent's thread")
	g := newGate(t, "")
	var open atomic.Bool
	held := make(chan error, 1)
	go func() {
		p, err := start(t, exits(t, 0), &vspawn.Attr{Syscalls: g.Calls})
		if err == nil && !open.Load() {
			err = errors.New("Start returned while its child was held up")
		}
		if p != nil {
			err = errors.Join(err, reap(p))
		}
		g.over()
		held <- err
	}()
	g.await(t)
	path := tiny.Exit(t, 0)
	for range 3 {
		p, err := vspawn.Start(t.Context(), path, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		wait(t, p, "exit status 0")
	}
	open.Store(true)
	g.letPass(t)
	if err := <-held; err != nil {
		t.Error(err)
	}
}

// An orphan is adopted by a subreaper, or by PID 1 of its namespace, who reaps
// it.
func TestOrphan(t *testing.T) {
	for _, c := range []struct {
		adopter string
		attr    vspawn.Attr
	}{
		{"subreaper", vspawn.Attr{}},
		{"PID 1", vspawn.Attr{Cloneflags: unix.CLONE_NEWPID}},
	} {
		t.Run(c.adopter, func(t *testing.T) {
			if c.attr.Cloneflags != 0 {
				needCapability(t, unix.CAP_SYS_ADMIN, "make a PID namespace")
			}
			helper.SkipEmulated(t, "subreaper, and no namespaces")
			p, err := start(t, orphanHelper.Argv(c.adopter), &c.attr)
			if err != nil {
				t.Fatal(err)
			}
			wait(t, p, "exit status 0")
		})
	}
}

// orphanHelper is one who adopts, or a child of his that leaves its own, or
// the orphan.
var orphanHelper *helper.Helper

func init() {
	orphanHelper = helper.New("orphan", func(args []string) int {
		switch args[0] {
		case "subreaper":
			if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
				panic(err)
			}
			return adopt()
		case "PID 1":
			return adopt()
		case "leaver":
			argv := orphanHelper.Argv("orphan")
			if _, err := vspawn.Start(noContext, program(argv), argv, nil); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return 0
		default: // says, at the end of its input, whose child it is
			io.Copy(io.Discard, os.Stdin)
			fmt.Printf("%d, child of %d", os.Getpid(), os.Getppid())
			return 0
		}
	})
}

func adopt() int {
	in, hold, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	argv := orphanHelper.Argv("leaver")
	if code := relay(vspawn.Start(noContext, program(argv), argv, &vspawn.Attr{
		Files: []vspawn.File{{Child: 0, Parent: in}, {Child: 1, Parent: w}, {Child: 2, Parent: vspawn.FD(2)}}})); code != 0 {
		return code
	}
	w.Close()
	hold.Close() // the orphan goes on
	said, _ := io.ReadAll(out)
	var ws unix.WaitStatus
	pid, err := unix.Wait4(-1, &ws, 0, nil)
	want := fmt.Sprintf("%d, child of %d", pid, os.Getpid())
	if string(said) != want || err != nil || ws != 0 {
		fmt.Fprintf(os.Stderr, "the orphan says %q, want %q; wait: %v, %#x\n", said, want, err, ws)
		return 1
	}
	if _, err := unix.Wait4(-1, &ws, 0, nil); err != unix.ECHILD {
		fmt.Fprintln(os.Stderr, "there is another child:", err)
		return 1
	}
	return 0
}

// Pdeathsig reaches the child when its parent dies.
func TestPdeathsigSent(t *testing.T) {
	helper.SkipEmulated(t, "subreaper")
	// The orphan becomes our child, so we learn how it ended.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	inR, inW := blockingPipe(t)
	outR, outW := blockingPipe(t)
	p, err := start(t, mortalHelper.Argv(), &vspawn.Attr{Files: []vspawn.File{{Child: 0, Parent: inR}, {Child: 1, Parent: outW}, {Child: 2, Parent: vspawn.FD(2)}}})
	if err != nil {
		t.Fatal(err)
	}
	outW.Close()
	wait(t, p, "exit status 0")
	out, _ := io.ReadAll(outR)
	orphan, err := strconv.Atoi(string(out))
	if err != nil {
		t.Fatalf("the helper says %q: %v", out, err)
	}
	inW.Close() // or else it ends by itself
	var ws unix.WaitStatus
	for {
		if _, err = unix.Wait4(orphan, &ws, 0, nil); err != unix.EINTR {
			break
		}
	}
	if err != nil || !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		t.Errorf("wait status %#x, %v; want SIGKILL", ws, err)
	}
}

// mortalHelper has a child that is not to survive it, and says its pid.
var mortalHelper = helper.New("mortal", func([]string) int {
	argv := waitHelper.Argv()
	p, err := vspawn.Start(noContext, program(argv), argv, &vspawn.Attr{
		Pdeathsig: unix.SIGKILL, Files: []vspawn.File{{Child: 0, Parent: vspawn.FD(0)}, {Child: 2, Parent: vspawn.FD(2)}}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Print(p.Pid())
	return 0
})

// It is not sent when only the thread ends whose goroutine has called Start
// (golang/go#27505).
func TestPdeathsigOfThread(t *testing.T) {
	r, w := blockingPipe(t)
	thread := make(chan int)
	var p *vspawn.Process
	var err error
	go func() {
		for {
			before := unix.Gettid()
			p, err = start(t, waitHelper.Argv(), &vspawn.Attr{Pdeathsig: unix.SIGKILL,
				Files: []vspawn.File{{Child: 0, Parent: r}, {Child: 2, Parent: vspawn.FD(2)}}})
			// Not before: a child of a goroutine that is locked is its thread's.
			runtime.LockOSThread() // and no unlock, so the thread ends
			if err != nil || before == unix.Gettid() && before != unix.Getpid() {
				thread <- unix.Gettid()
				return
			}
			runtime.UnlockOSThread()
			p.Kill()
			reap(p)
			time.Sleep(time.Millisecond)
		}
	}()
	tid := <-thread
	if err != nil {
		t.Fatal(err)
	}
	for stat("self/task/"+strconv.Itoa(tid)).state != "" {
		time.Sleep(time.Millisecond)
	}
	w.Close()
	wait(t, p, "exit status 0")
}

// Foreground gives the caller's own terminal to a child in a new group, though
// the caller is then in the background (TIOCSPGRP sends it SIGTTOU).
func TestForeground(t *testing.T) {
	tty := terminal(t)
	r, w := blockingPipe(t)
	p, err := start(t, sessionHelper.Argv(), &vspawn.Attr{
		Setsid: true, TTY: vspawn.FD(tty), ControllingTTY: true,
		Files: []vspawn.File{{Child: 0, Parent: vspawn.FD(tty)}, {Child: 2, Parent: vspawn.FD(2)}, {Child: reportFD, Parent: w}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	s := readReport(t, p, r)
	equal(t, "session", s.Sid, p.Pid())
	equal(t, "process group", s.Pgid, s.Pid)
	equal(t, "foreground group", s.Foreground, s.Pid)
}

// sessionHelper has a terminal, which it gives to its child.
var sessionHelper = helper.New("session", func([]string) int {
	files := []vspawn.File{{Child: 0, Parent: vspawn.FD(0)}, {Child: 2, Parent: vspawn.FD(2)}, {Child: reportFD, Parent: vspawn.FD(reportFD)}}
	argv := reportHelper.Argv()
	return relay(vspawn.Start(noContext, program(argv), argv, &vspawn.Attr{
		Pgid: vspawn.Ptr(0), TTY: vspawn.FD(0), Foreground: true, Files: files}))
})
