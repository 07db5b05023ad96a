package vspawn

import (
	"context"
	"runtime"
	"sync"
)

// startLasting is start, on a thread that lives as long as the process.
func (p *Plan) startLasting(ctx context.Context, f *FeatureSet) (proc *Process, err error) {
	onLastingThread(func() { proc, err = p.start(ctx, f) })
	return proc, err
}

// lasting are threads that never end, and wait for something to run.
var lasting struct {
	sync.Mutex
	idle []chan func()
}

// onLastingThread runs f on a thread that lives as long as the process.
func onLastingThread(f func()) {
	lasting.Lock()
	var thread chan func()
	if n := len(lasting.idle); n > 0 {
		thread, lasting.idle = lasting.idle[n-1], lasting.idle[:n-1]
	}
	lasting.Unlock()
	if thread == nil {
		thread = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range thread {
				f()
			}
		}()
	}
	done := make(chan struct{})
	thread <- func() { defer close(done); f() }
	<-done
	lasting.Lock()
	lasting.idle = append(lasting.idle, thread)
	lasting.Unlock()
}
