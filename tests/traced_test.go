//go:build linux

package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// patience is far more than anything here takes, and turns a hang into an error.
const patience = time.Minute

// tracedKinds are the ways to have a child that is stopped at its exec.
var tracedKinds = []struct {
	name string
	attr vspawn.Attr
}{
	{"StartStopped", vspawn.Attr{StartStopped: true}},
	{"Ptrace", vspawn.Attr{Ptrace: true}},
}

// Signals that come to the whole process group all the time, those that are
// ignored by default among them, hang no start of a child that is traced, and it
// is stopped as ever.
func TestTracedInStorm(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	p, err := start(t, tracedStormHelper.Argv(tiny.Exit(t, 0)), &vspawn.Attr{Pgid: vspawn.Ptr(0)})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

var tracedStormHelper = helper.New("traced-storm", func(args []string) int {
	if unix.Getpgrp() != os.Getpid() { // or whoever runs the test gets them, too
		fmt.Fprintln(os.Stderr, "this is not the leader of a process group")
		return 1
	}
	signal.Notify(make(chan os.Signal, 1), unix.SIGUSR1)
	var stop atomic.Bool
	var took atomic.Int64 // by the last start, lest a slow machine does nothing but handle signals
	took.Store(int64(time.Millisecond))
	var storm sync.WaitGroup
	for _, s := range []syscall.Signal{unix.SIGWINCH, unix.SIGCHLD, unix.SIGURG, unix.SIGUSR1} {
		storm.Go(func() {
			for !stop.Load() {
				unix.Kill(0, s)
				time.Sleep(time.Duration(took.Load()))
			}
		})
	}
	storm.Go(func() { // and the parent's thread runs on, beside a child that shares its memory
		for !stop.Load() {
			runtime.GC()
			growStack(200)
			time.Sleep(10 * time.Duration(took.Load()))
		}
	})
	code := 0
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for n := range helper.Rounds(1000) {
		kind, begin := tracedKinds[n%2], time.Now()
		err := startTraced(args[0], &kind.attr)
		took.Store(int64(min(time.Since(begin), time.Second)))
		if err != nil {
			fmt.Fprintf(os.Stderr, "start %d, %s: %v\n", n, kind.name, err)
			code = 1
			break
		}
	}
	stop.Store(true)
	storm.Wait()
	return code
})

func growStack(depth int) byte {
	var frame [1 << 10]byte
	if depth > 0 {
		frame[depth] = growStack(depth - 1)
	}
	return frame[depth]
}

// startTraced starts a child, checks how it is stopped, and ends it.
func startTraced(path string, attr *vspawn.Attr) error {
	ctx, cancel := context.WithTimeout(noContext, patience)
	defer cancel()
	p, err := vspawn.Start(ctx, path, nil, attr)
	if err != nil {
		return err
	}
	err = checkStopped(ctx, p, attr)
	if s, _ := p.Poll(); s != nil && attr.StartStopped && s.Signal() == unix.SIGUSR1 {
		return nil // it came just as the tracer had left, and the child was not yet stopped
	}
	return errors.Join(err, p.Kill(), reap(p))
}

// checkStopped checks that a child is in the stop that its attributes ask for.
func checkStopped(ctx context.Context, p *vspawn.Process, attr *vspawn.Attr) error {
	want, state, tracer := unix.SIGSTOP, "T (stopped)", "0"
	if attr.Ptrace {
		want, state, tracer = unix.SIGTRAP, "t (tracing stop)", strconv.Itoa(os.Getpid())
	}
	s, err := p.WaitFor(ctx, vspawn.Stopped|vspawn.Exited)
	if err != nil {
		return err
	}
	pid := strconv.Itoa(p.Pid())
	if s.Signal() != want || s.Sys().TrapCause() > 0 {
		return fmt.Errorf("it is %v (%#x), want a stop by %v", s, s.Sys(), want)
	}
	if got := statusField(pid, "State"); got != state {
		return fmt.Errorf("its state is %q, want %q", got, state)
	}
	got := statusField(pid, "TracerPid")
	if got != "0" {
		got = statusField(got, "Tgid") // it may be a thread's
	}
	if got != tracer {
		return fmt.Errorf("its tracer is %q, want %q", got, tracer)
	}
	return nil
}

// endsBy is wait for a child that may not end.
func endsBy(t *testing.T, p *vspawn.Process, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(noContext, patience)
	defer cancel()
	if err := p.WaitExit(ctx); err != nil {
		t.Errorf("waiting for %q: %v", want, err)
		p.Kill()
	}
	wait(t, p, want)
}

// goOn lets a child of startTraced's run.
func goOn(p *vspawn.Process, attr *vspawn.Attr) error {
	if attr.Ptrace {
		return unix.PtraceDetach(p.Pid())
	}
	return p.Signal(unix.SIGCONT)
}

// Whatever signal has come to the child on its way, blocked, ignored or neither,
// finds it stopped at its exec, and has its effect when it goes on. The mask is
// the one that was asked for.
func TestTracedSignalled(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	path := tiny.Exit(t, 3)
	const ends = "exit status 3"
	one := func(s syscall.Signal) []syscall.Signal { return []syscall.Signal{s} }
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		attr   vspawn.Attr
		end    string
	}{
		{"none", 0, vspawn.Attr{}, ends},
		{"none, SIGTRAP blocked", 0, vspawn.Attr{SignalMask: one(unix.SIGTRAP)}, ends},
		{"none, SIGTRAP ignored", 0, vspawn.Attr{IgnoreSignals: one(unix.SIGTRAP)}, ends},
		{"none, SIGTRAP blocked and ignored", 0, vspawn.Attr{SignalMask: one(unix.SIGTRAP), IgnoreSignals: one(unix.SIGTRAP)}, ends},
		{"SIGWINCH", unix.SIGWINCH, vspawn.Attr{}, ends},
		{"SIGCHLD", unix.SIGCHLD, vspawn.Attr{}, ends},
		{"SIGTERM", unix.SIGTERM, vspawn.Attr{}, "signal: terminated"},
		{"SIGTERM, blocked", unix.SIGTERM, vspawn.Attr{SignalMask: one(unix.SIGTERM)}, ends},
		{"SIGTERM, ignored", unix.SIGTERM, vspawn.Attr{IgnoreSignals: one(unix.SIGTERM)}, ends},
		{"SIGHUP", unix.SIGHUP, vspawn.Attr{DefaultSignals: one(unix.SIGHUP)}, "signal: hangup"},
		{"SIGTRAP, blocked", unix.SIGTRAP, vspawn.Attr{SignalMask: one(unix.SIGTRAP)}, ends},
		{"SIGTRAP, ignored", unix.SIGTRAP, vspawn.Attr{IgnoreSignals: one(unix.SIGTRAP)}, ends},
		{"SIGTRAP, blocked and made default", unix.SIGTRAP, vspawn.Attr{SignalMask: one(unix.SIGTRAP), DefaultSignals: one(unix.SIGTRAP)}, ends},
	} {
		for _, kind := range tracedKinds {
			for _, before := range []string{"Cgroup", ""} { // before it is traced, and after
				if c.signal == 0 && before == "" {
					continue
				}
				attr := c.attr
				attr.Ptrace, attr.StartStopped = kind.attr.Ptrace, kind.attr.StartStopped
				t.Run(fmt.Sprintf("%s, %s %q", kind.name, c.name, before), func(t *testing.T) {
					p := startAtGate(t, path, &attr, before, c.signal)
					checkPending(t, p, &attr, c.signal)
					if err := goOn(p, &attr); err != nil {
						t.Error(err)
					}
					endsBy(t, p, c.end)
				})
			}
		}
	}
}

// startAtGate starts a child that gets a signal on its way, and checks how it is
// stopped.
func startAtGate(t *testing.T, path string, attr *vspawn.Attr, before string, s syscall.Signal) *vspawn.Process {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	g := newGate(t, before)
	attr.Syscalls = g.Calls
	var others sync.WaitGroup
	others.Go(func() {
		defer g.letPass(t)
		if s == 0 {
			g.await(t)
		} else {
			signalAtGate(t, g, s)
		}
	})
	p, err := vspawn.Start(ctx, path, nil, attr)
	g.over()
	others.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if err := checkStopped(ctx, p, attr); err != nil {
		p.Kill()
		reap(p)
		t.Fatal(err)
	}
	return p
}

// checkPending checks the mask of a child that is stopped, and what is pending.
func checkPending(t *testing.T, p *vspawn.Process, attr *vspawn.Attr, s syscall.Signal) {
	t.Helper()
	set := func(field string) uint64 {
		v, err := strconv.ParseUint(statusField(strconv.Itoa(p.Pid()), field), 16, 64)
		if err != nil {
			t.Error(err)
		}
		return v
	}
	equal(t, "blocked signals", set("SigBlk"), setOf(attr.SignalMask...))
	if s != 0 {
		// One that is ignored, and not blocked, may have been dropped.
		if got := set("SigPnd") | set("ShdPnd"); got&^setOf(s) != 0 || got == 0 && s == unix.SIGTERM && attr.IgnoreSignals == nil {
			t.Errorf("pending signals: %#x, want %v", got, s)
		}
	}
}

// A SIGSTOP that comes while the child is traced neither holds the start nor is
// lost to the tracer.
func TestTracedStopped(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	path := tiny.Exit(t, 3)
	t.Run("StartStopped", func(t *testing.T) {
		attr := &vspawn.Attr{StartStopped: true}
		p := startAtGate(t, path, attr, "", unix.SIGSTOP)
		if err := goOn(p, attr); err != nil {
			t.Error(err)
		}
		endsBy(t, p, "exit status 3")
	})
	t.Run("Ptrace", func(t *testing.T) {
		p := startAtGate(t, path, &vspawn.Attr{Ptrace: true}, "", unix.SIGSTOP)
		if err := unix.PtraceCont(p.Pid(), 0); err != nil {
			t.Error(err)
		}
		s, err := p.WaitFor(t.Context(), vspawn.Stopped|vspawn.Exited)
		if err != nil || s.Signal() != unix.SIGSTOP {
			t.Errorf("then it is %v, %v; want a stop by SIGSTOP", s, err)
		}
		if err := unix.PtraceDetach(p.Pid()); err != nil {
			t.Error(err)
		}
		endsBy(t, p, "exit status 3")
	})
}

// A child of Ptrace has, for its tracer, no options: what it does next is told
// as of any that was traced by PTRACE_TRACEME.
func TestTracedPlainly(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	p := startAtGate(t, tiny.Exit(t, 3), &vspawn.Attr{Ptrace: true}, "Cgroup", 0)
	if err := unix.PtraceSyscall(p.Pid(), 0); err != nil {
		t.Fatal(err)
	}
	s, err := p.WaitFor(t.Context(), vspawn.Stopped|vspawn.Exited)
	if err != nil || s.Signal() != unix.SIGTRAP || s.Sys().TrapCause() > 0 {
		t.Errorf("at its first system call it is %v, %v; want a stop by SIGTRAP", s, err)
	}
	if err := unix.PtraceDetach(p.Pid()); err != nil {
		t.Error(err)
	}
	endsBy(t, p, "exit status 3")
}

// Beside a goroutine that waits for any child, and takes the news of stops, no
// start of a traced child hangs.
func TestTracedBesideWaiter(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	p, err := start(t, besideWaiterHelper.Argv(tiny.Exit(t, 0)), nil)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

var besideWaiterHelper = helper.New("beside-waiter", func(args []string) int {
	for range 2 {
		go func() {
			for {
				var ws unix.WaitStatus
				if _, err := unix.Wait4(-1, &ws, 0, nil); err == unix.ECHILD {
					time.Sleep(10 * time.Microsecond)
				}
			}
		}()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	hang := time.AfterFunc(patience, func() {
		fmt.Fprintln(os.Stderr, "it hangs")
		os.Exit(1)
	})
	for n := range helper.Rounds(500) {
		hang.Reset(patience)
		kind := tracedKinds[n%2]
		ctx, cancel := context.WithTimeout(noContext, patience)
		p, err := vspawn.Start(ctx, args[0], nil, &kind.attr)
		cancel()
		if err != nil {
			fmt.Fprintf(os.Stderr, "start %d, %s: %v\n", n, kind.name, err)
			return 1
		}
		pid := strconv.Itoa(p.Pid())
		stopped := func() bool {
			return statusField(pid, "State") == "T (stopped)" || kind.attr.Ptrace && statusField(pid, "TracerPid") != "0"
		}
		for end := time.Now().Add(patience); !stopped(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				fmt.Fprintf(os.Stderr, "start %d, %s: its state is %q\n", n, kind.name, statusField(pid, "State"))
				return 1
			}
		}
		p.Kill()
		p.Wait(noContext) // which may find that another has taken the state
	}
	return 0
})

// Poll and WaitFor take no stop of a traced child for its end, nor do they take
// it from who asks for stops; and Wait waits on.
func TestTracedPoll(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := vspawn.Start(t.Context(), tiny.Exit(t, 3), nil, &vspawn.Attr{Ptrace: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if s, err := p.Poll(); s != nil || err != nil {
			t.Errorf("Poll says %v, %v of one that is stopped", s, err)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if s, err := p.WaitFor(short, vspawn.Exited); s != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WaitFor(Exited) says %v, %v of one that is stopped", s, err)
	}
	short, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if s, err := p.Wait(short); s != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait says %v, %v of one that is stopped", s, err)
	}
	long, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := checkStopped(long, p, &vspawn.Attr{Ptrace: true}); err != nil {
		t.Error(err)
	}
	if err := unix.PtraceDetach(p.Pid()); err != nil {
		t.Error(err)
	}
	endsBy(t, p, "exit status 3")
}

// StartStopped takes from a program what its set-user-ID bit would give it, as
// its documentation says: the kernel gives nothing to one that is traced by
// someone without CAP_SYS_PTRACE.
func TestStartStoppedSetUserID(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	needCapability(t, unix.CAP_SETUID, "give a program another owner")
	const user, owner = 1000, 1001
	text, err := os.ReadFile(tiny.Sleep(t))
	if err != nil {
		t.Fatal(err)
	}
	program := func(dir string) (path string) {
		path = filepath.Join(dir, "setuid")
		if err := errors.Join(os.WriteFile(path, text, 0o755), os.Chown(path, owner, -1), os.Chmod(path, 0o755|os.ModeSetuid),
			os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := program(realTemp(t))
	effective := func(attr vspawn.Attr) (uid int) {
		attr.UID, attr.GID = vspawn.Ptr(user), vspawn.Ptr(user)
		p, err := vspawn.Start(t.Context(), path, nil, &attr)
		if err != nil {
			t.Fatal(err)
		}
		// Start is back before the exec has changed the ids: when the program sleeps, or is
		// stopped, it has.
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
			state := statFields(p.Pid())
			if state != nil && bytes.ContainsAny(state[0], "ST") && !stillShares(p.Pid(), os.Getpid()) {
				break
			}
		}
		var all [4]int
		fmt.Sscan(statusField(strconv.Itoa(p.Pid()), "Uid"), &all[0], &all[1])
		if err := errors.Join(p.Kill(), reap(p)); err != nil {
			t.Error(err)
		}
		return all[1]
	}
	if effective(vspawn.Attr{}) != owner { // a file system that is mounted nosuid, as a guest's /tmp
		dir, err := os.MkdirTemp("/", "vspawn-test-")
		if err != nil {
			t.Skip("the set-user-ID bit has no effect in the directory for temporary files, and there is no other: ", err)
		}
		defer os.RemoveAll(dir)
		path = program(dir)
	}
	equal(t, "effective user", effective(vspawn.Attr{}), owner)
	equal(t, "effective user with StartStopped", effective(vspawn.Attr{StartStopped: true}), user)
}

// A child that is stopped by a signal on its way holds its start, until SIGCONT;
// or until the context ends, and then it is killed.
func TestStoppedOnItsWay(t *testing.T) {
	helper.SkipEmulated(t, "memory shared by vfork")
	for _, end := range []string{"SIGCONT", "context"} {
		t.Run(end, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			g := newGate(t, "")
			var others sync.WaitGroup
			others.Go(func() {
				signalAtGate(t, g, unix.SIGSTOP)
				pids := children(t, os.Getpid())
				g.letPass(t)
				for len(pids) == 1 && statusField(strconv.Itoa(pids[0]), "State") != "T (stopped)" {
					time.Sleep(time.Millisecond)
				}
				if end == "context" {
					cancel()
				} else if err := unix.Kill(pids[0], unix.SIGCONT); err != nil {
					t.Error(err)
				}
			})
			p, err := vspawn.Start(ctx, tiny.Exit(t, 3), nil, &vspawn.Attr{Syscalls: g.Calls})
			g.over()
			others.Wait()
			switch {
			case end == "context" && !errors.Is(err, context.Canceled):
				t.Errorf("got %v, want that it is cancelled", err)
			case err == nil:
				endsBy(t, p, "exit status 3")
			case end != "context":
				t.Error(err)
			}
		})
	}
}

// A traced child that is another user, whom its parent may not signal, ends all the
// same when it can't be brought to its stop.
func TestTracedOther(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	needCapability(t, unix.CAP_SETUID, "become another")
	change := vspawn.Caps(unix.CAP_SETUID, unix.CAP_SETGID)
	p, err := start(t, tracedOtherHelper.Argv(exits(t, 0)...), &vspawn.Attr{UID: vspawn.Ptr(1000), GID: vspawn.Ptr(1000), Ambient: change,
		Capabilities: &vspawn.Capabilities{Permitted: change, Effective: change, Inheritable: change}})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

// tracedOtherHelper starts a program whose oom_score_adj it can't write.
var tracedOtherHelper = helper.New("traced-other", func(argv []string) int {
	for _, attr := range []vspawn.Attr{{StartStopped: true}, {Ptrace: true}} {
		attr.UID, attr.GID, attr.KeepGroups, attr.OOMScoreAdj = another.UID, another.GID, true, vspawn.Ptr(1000)
		ctx, cancel := context.WithTimeout(noContext, time.Minute)
		p, err := vspawn.Start(ctx, argv[0], argv, &attr)
		cancel()
		if err == nil {
			err = errors.Join(errors.New("it was started"), reap(p))
		}
		var e *vspawn.Error
		if !errors.As(err, &e) || e.Field != "OOMScoreAdj" || e.Err != unix.EACCES {
			fmt.Fprintln(os.Stderr, "got", err, "want EACCES of OOMScoreAdj")
			return 1
		}
	}
	if left := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil); left != unix.ECHILD {
		fmt.Fprintln(os.Stderr, "a child is left:", left)
		return 1
	}
	return 0
})
