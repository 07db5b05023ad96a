//go:build linux

package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
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
	left := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
	if left != unix.ECHILD {
		fmt.Fprintln(os.Stderr, "a child is left:", left)
		return 1
	}
	return 0
})
