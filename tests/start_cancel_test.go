//go:build linux

package tests

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// A gate holds a child up between two of its system calls.
type gate struct {
	Calls []vspawn.Syscall // for Attr.Syscalls
	here  *os.File         // a byte comes out when the child is there
	open  *os.File         // a byte lets it go on
	side  *os.File         // the child's end of here
}

// newGate makes a gate before the given field of Attr.
func newGate(t *testing.T, before string) *gate {
	t.Helper()
	hereR, hereW := blockingPipe(t)
	openR, openW := blockingPipe(t)
	buffer := pin(t, new([1]byte))
	return &gate{[]vspawn.Syscall{
		{Before: before, Name: "write", Nr: unix.SYS_WRITE, Args: [6]uintptr{hereW.Fd(), buffer, 1}},
		{Before: before, Name: "read", Nr: unix.SYS_READ, Args: [6]uintptr{openR.Fd(), buffer, 1}},
	}, hereR, openW, hereW}
}

// await waits until the child is at the gate.
func (g *gate) await(t *testing.T) {
	t.Helper()
	if _, err := g.here.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// over ends a wait for a child that has not come by.
func (g *gate) over() { g.side.Close() }

func (g *gate) letPass(t *testing.T) {
	t.Helper()
	if _, err := g.open.Write([]byte("x")); err != nil {
		t.Error(err)
	}
}

// The parent's thread does not run between vfork and the child's exec or exit,
// while its other goroutines do, though there is one P, and runtime.GC returns
// meanwhile.
func TestParentWaits(t *testing.T) {
	helper.SkipEmulated(t, "vfork that suspends the parent's thread")
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, end := range []string{"exec", "exit"} {
		t.Run(end, func(t *testing.T) {
			g := newGate(t, "")
			attr := &vspawn.Attr{Syscalls: g.Calls}
			if end == "exit" { // which a child does whose step fails
				attr.Syscalls = append(attr.Syscalls, vspawn.Syscall{Name: "close", Nr: unix.SYS_CLOSE, Args: [6]uintptr{^uintptr(0)}})
			}
			thread := make(chan string, 1)
			var open atomic.Bool
			var others sync.WaitGroup
			others.Go(func() {
				g.await(t)
				defer func() { open.Store(true); g.letPass(t) }()
				tid := <-thread
				// On its way to sleep, also in the state of one who sleeps, it is
				// called running here until it has left the processor.
				call := "running"
				for strings.HasPrefix(call, "running") {
					runtime.Gosched()
					call = text("/proc/self/task/" + tid + "/syscall")
				}
				before := switches(tid)
				ticker := time.NewTicker(time.Millisecond)
				defer ticker.Stop()
				for range 20 {
					<-ticker.C
				}
				runtime.GC()
				if s, after := stat("self/task/"+tid).state, switches(tid); s != "D" || before != after || before == "" || call == "" {
					t.Errorf("the parent's thread is in state %s, in system call %q, its context switches went from %q to %q; want state D and no change", s, call, before, after)
				}
			})
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			thread <- strconv.Itoa(unix.Gettid())
			p, err := start(t, exits(t, 3), attr)
			if !open.Load() {
				t.Error("Start returned while the child was still held up")
			}
			g.over()
			others.Wait()
			if end == "exit" {
				if !errors.Is(err, unix.EBADF) {
					t.Errorf("got %v, want the failure of the last step", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wait(t, p, "exit status 3")
		})
	}
}

// switches says how often a thread of ours has given up the processor.
func switches(tid string) string {
	task := "self/task/" + tid
	return statusField(task, "voluntary_ctxt_switches") + " " + statusField(task, "nonvoluntary_ctxt_switches")
}

// errEnough is the cause of a cancelled start.
var errEnough = errors.New("enough waited")

// A child that hangs in a step is killed by cancel. Start returns the cause,
// and says which step it was; nothing is left.
func TestCancelStep(t *testing.T) {
	leavesNothing(t, "start", func(t *testing.T) {
		g := newGate(t, "UID")
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		go func() {
			g.await(t)
			for !allAsleep(children(t, os.Getpid())) { // still on its way into read
				runtime.Gosched()
			}
			cancel(errEnough)
		}()
		argv := exits(t, 0)
		_, err := vspawn.Start(ctx, argv[0], argv, &vspawn.Attr{Syscalls: g.Calls})
		g.over()
		checkCancelled(t, err, vspawn.Error{Step: "read", Field: "Syscalls[1]"})
	})
}

// The same for a child that hangs in exec: somebody else has a lease on the
// program's file, and the kernel waits for him to give it back.
func TestCancelExec(t *testing.T) {
	leavesNothing(t, "start", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, []byte("#!/proc/self/exe"), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		broken := make(chan os.Signal, 1) // the kernel asks for the lease
		signal.Notify(broken, unix.SIGIO)
		defer signal.Stop(broken)
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
			t.Fatal("F_SETLEASE: ", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		go func() {
			<-broken
			cancel(errEnough)
		}()
		_, err = vspawn.Start(ctx, path, nil, nil)
		checkCancelled(t, err, vspawn.Error{Step: "execve", Object: path})
	})
}

func checkCancelled(t *testing.T, err error, want vspawn.Error) {
	t.Helper()
	if !errors.Is(err, errEnough) {
		t.Fatalf("got %v, want the cause, %q", err, errEnough)
	}
	if f, ferr := vspawn.Features(); ferr != nil || !f.SharedMemory {
		return // there is no telling where the child was
	}
	want.Err = errEnough
	checkError(t, err, want)
}

// A start that is cancelled at any moment gives the cause and leaves nothing,
// or a child that runs.
func TestCancelAnyTime(t *testing.T) {
	leavesNothing(t, "start", func(t *testing.T) {
		path, argv := quick(t)
		plan, err := vspawn.Compile(path, argv, nil)
		if err != nil {
			t.Fatal(err)
		}
		cancelled := 0
		for i := range 60 {
			ctx, cancel := context.WithCancelCause(t.Context())
			var canceller sync.WaitGroup
			canceller.Go(func() {
				for range i * i {
					runtime.Gosched()
				}
				cancel(errEnough)
			})
			p, err := plan.Start(ctx)
			canceller.Wait()
			switch {
			case err == nil:
				wait(t, p, "exit status 0")
			case errors.Is(err, errEnough):
				cancelled++
			default:
				t.Error(err)
			}
		}
		t.Logf("%d of 60 were cancelled", cancelled)
	})
}

// With a context that has ended nothing is started.
func TestCancelBefore(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errEnough)
	mark := filepath.Join(t.TempDir(), "mark")
	path, err := unix.BytePtrFromString(mark)
	if err != nil {
		t.Fatal(err)
	}
	mkdir := vspawn.Syscall{Nr: unix.SYS_MKDIRAT, Args: [6]uintptr{atFdcwd, pin(t, path), 0o700}}
	argv := exits(t, 0)
	_, err = vspawn.Start(ctx, argv[0], argv, &vspawn.Attr{Syscalls: []vspawn.Syscall{mkdir}})
	if !errors.Is(err, errEnough) {
		t.Errorf("got %v, want the cause, %q", err, errEnough)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("there was a child")
	}
}

const atFdcwd = ^uintptr(99) // unix.AT_FDCWD, which is -100

// Once Start has returned, its context is of no concern to the child.
func TestCancelAfter(t *testing.T) {
	r, w := blockingPipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	argv := waitHelper.Argv()
	p, err := vspawn.Start(ctx, program(argv), argv,
		&vspawn.Attr{Files: []vspawn.File{{Child: 0, Parent: r}, {Child: 2, Parent: vspawn.FD(2)}}})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	w.Close()
	wait(t, p, "exit status 0")
}
