//go:build linux

package asm_test

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vspawn/vspawn/asm"
	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// Many goroutines spawn at once, from stacks that grow and move, while the
// collector runs all the time. Each child's steps must be those of its own
// Program, and each parent must wake with its own child's pid.
func TestStress(t *testing.T) {
	helper.SkipEmulated(t, "memory shared by vfork")
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	const goroutines, rounds = 16, 10
	asmtest.EachClone(t, func(t *testing.T, create asmtest.Create) {
		var stop atomic.Bool
		var collector, spawners sync.WaitGroup
		collector.Go(func() {
			for !stop.Load() {
				runtime.GC()
			}
		})
		for g := range goroutines {
			spawners.Go(func() {
				for i := range rounds {
					atDepth(i%8, func() { oneOfMany(t, create, g, i) })
				}
			})
		}
		spawners.Wait()
		stop.Store(true)
		collector.Wait()
	})
}

// oneOfMany fails in every other round.
func oneOfMany(t *testing.T, create asmtest.Create, g, i int) {
	status := (g*7 + i) % 127
	p := asmtest.New(create, getpid, getppid(), failing, asmtest.Exit(status))
	p.List[0].Out = asmtest.Addr(&p.Words[0])
	failed := asmtest.Addr(&p.List[2])
	if i%2 == 0 {
		p.List[2].Flags = asm.Tolerate
		failed = 0
	} else {
		status = 127
	}
	pid, ws, err := p.Run()
	if err != nil {
		t.Error(err)
		return
	}
	asmtest.CheckExit(t, ws, status)
	if p.Words[0] != uintptr(pid) || p.Entered != 1 || p.Failed != failed {
		t.Errorf("child %d: it says it is %d, Entered %d, Failed %#x (want %#x), Result %d",
			pid, p.Words[0], p.Entered, p.Failed, failed, int(p.Result))
	}
}

// atDepth calls f below n frames of 1 KiB.
//
//go:noinline
func atDepth(n int, f func()) {
	var frame [1024]byte
	if n > 0 {
		atDepth(n-1, f)
	} else {
		f()
	}
	runtime.KeepAlive(&frame)
}
