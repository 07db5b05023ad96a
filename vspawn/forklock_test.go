//go:build linux

package vspawn

import (
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/tests/helper"
)

// A child that inherits descriptors holds up those who open one without
// O_CLOEXEC for a moment, until the last such child has exec'd: they hold
// syscall.ForkLock meanwhile. Other children don't, and the starts don't wait
// for each other.
func TestForkLock(t *testing.T) {
	helper.SkipEmulated(t, "starts that tell each of its own child's exec") // by a pipe, which the other child has too
	argv := exits(t, 0)
	for _, c := range []struct {
		name string
		attr Attr
		free bool // the lock, while a child is under way
	}{
		{"InheritFiles", Attr{InheritFiles: true}, false},
		{"Files alone", Attr{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := func(when string, want bool) {
				t.Helper()
				free := syscall.ForkLock.TryRLock()
				if free {
					syscall.ForkLock.RUnlock()
				}
				if free != want {
					t.Errorf("%s: the lock is free: %v, want %v", when, free, want)
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
			check("before", true)
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
			check("both under way", c.free)
			for i := range children {
				unix.Write(gate[1], b)
				if p := <-started; p != nil {
					if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
						t.Error(s, err)
					}
				}
				if i == 0 {
					check("one under way", c.free)
				}
			}
			check("after", true)
			runtime.KeepAlive(buffer)
		})
	}
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
