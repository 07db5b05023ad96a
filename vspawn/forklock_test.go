//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// A child that inherits descriptors holds up those who open one without
// O_CLOEXEC for a moment until it is born, since they hold syscall.ForkLock
// meanwhile, and no longer: it may hang on its way to exec, and others' children
// start all the same.
func TestForkLock(t *testing.T) {
	helper.SkipEmulated(t, "starts that tell each of its own child's exec") // by a pipe, which the other child has too
	argv := exits(t, 0)
	for _, c := range []struct {
		name string
		attr Attr
	}{
		{"InheritFiles", Attr{InheritFiles: true}},
		{"Files alone", Attr{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := func(when string) {
				t.Helper()
				if err := inTime(func() error {
					syscall.ForkLock.Lock()
					syscall.ForkLock.Unlock() //lint:ignore SA2001 that is all
					return exec.Command(argv[0]).Run()
				}); err != nil {
					t.Errorf("%s: os/exec: %v", when, err)
				}
			}
			// Each child says that it is there, and waits for a byte.
			there, gate := blockingPipe(t), blockingPipe(t)
			b := make([]byte, 1)
			buffer := new([8]byte)
			attr := c.attr
			attr.Syscalls = []Syscall{
				{Name: "write", Nr: unix.SYS_WRITE, Args: [6]uintptr{uintptr(there[1]), pointer(buffer), 1}},
				{Name: "read", Nr: unix.SYS_READ, Args: [6]uintptr{uintptr(gate[0]), pointer(buffer), 1}},
			}
			plan, err := Compile(argv[0], argv, &attr)
			if err != nil {
				t.Fatal(err)
			}
			check("before")
			const children = 2
			started := make(chan *Process, children)
			for range children {
				go func() {
					p, err := plan.Start(t.Context())
					if err != nil {
						t.Error(err)
					}
					started <- p
				}()
			}
			for range children {
				ignoringEINTR(func() error { _, err := unix.Read(there[0], b); return err })
			}
			check("both under way")
			for i := range children {
				unix.Write(gate[1], b)
				if p := <-started; p != nil {
					if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
						t.Error(s, err)
					}
				}
				if i == 0 {
					check("one under way")
				}
			}
			check("after")
			runtime.KeepAlive(buffer)
		})
	}
}

// inTime is f's error, or says that it hangs.
func inTime(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		return errors.New("it hangs")
	}
}

// The lock is held as long as one of the children is not born, however long that
// takes, and no longer than that.
func TestForkLockUnborn(t *testing.T) {
	var l forkLock
	one, two := new(instance), new(instance)
	if err := l.enter(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	free := func() bool {
		free := syscall.ForkLock.TryRLock()
		if free {
			syscall.ForkLock.RUnlock()
		}
		return free
	}
	for range 5 { // as often as it may look who is born
		if time.Sleep(longestHold); free() {
			t.Fatal("the lock is free, and the child is not born")
		}
	}
	// It is older than others may share it, so a second one waits, and may give up.
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	go func() {
		for waits := false; !waits; runtime.Gosched() {
			l.mu.Lock()
			waits = len(l.waiting) > 0
			l.mu.Unlock()
		}
		cancel(cause)
	}()
	if err := l.enter(ctx, two); !errors.Is(err, cause) {
		t.Errorf("the second got %v, want %v", err, cause)
	}
	if free() {
		t.Error("the lock is free, and the child is not born")
	}
	atomic.StoreInt32(&one.prog.Pid, 1)
	if err := inTime(func() error { return l.enter(t.Context(), two) }); err != nil {
		t.Fatal(err)
	}
	if free() {
		t.Error("the lock is free, and the second child is not born")
	}
	l.leave(one)
	if free() {
		t.Error("the first has left, and the lock is free")
	}
	l.leave(two)
	if !free() {
		t.Error("all have left, and the lock is not free")
	}
}

// What is opened without O_CLOEXEC for a moment, under the lock, no child
// inherits.
func TestForkLockKeeps(t *testing.T) {
	marker, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer marker.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(marker.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var opener sync.WaitGroup
	opener.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			syscall.ForkLock.RLock()
			fd, err := unix.Open(marker.Name(), unix.O_RDONLY, 0)
			for range 20 {
				runtime.Gosched()
			}
			unix.CloseOnExec(fd)
			syscall.ForkLock.RUnlock()
			if err != nil {
				t.Error(err)
				return
			}
			unix.Close(fd)
		}
	})
	for range helper.Rounds(20) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := startHelper(t, &Attr{InheritFiles: true, Files: []File{{Child: 1, Parent: w}}}, list)
		w.Close()
		out, _ := io.ReadAll(r)
		r.Close()
		if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
			t.Error(s, err)
		}
		if strings.Contains(string(out), fmt.Sprintf(":%d:%d\n", st.Dev, st.Ino)) {
			t.Errorf("the child has it:\n%s", out)
		}
	}
	close(stop)
	opener.Wait()
}

// blockingPipe is a pipe whose ends are not the runtime's.
func blockingPipe(t *testing.T) (ends [2]int) {
	t.Helper()
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ends[0]); unix.Close(ends[1]) })
	return ends
}
