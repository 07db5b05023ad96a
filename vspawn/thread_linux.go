package vspawn

import (
	"bytes"
	"context"
	"runtime"
	"sync"
)

// startLasting is start, on a thread that lives as long as the process.
func (p *Plan) startLasting(ctx context.Context, f *FeatureSet) (proc *Process, err error) {
	onLastingThread(func() { proc, err = p.start(ctx, f, 0) })
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

// lockedThread tells whether the goroutine is locked to its thread. What a thread has
// of its own, namespaces, filters, a domain of Landlock, credentials, only such a
// goroutine can rely on, and so can its children.
//
// The runtime says it nowhere but in the head of a stack's print. If it does so
// no more, which is looked at first, every goroutine passes for a locked one.
func lockedThread() bool { return !headTells() || headSaysLocked() }

var headTells = sync.OnceValue(func() bool {
	said := make(chan bool)
	go func() {
		before := headSaysLocked()
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		said <- !before && headSaysLocked()
	}()
	return <-said
})

func headSaysLocked() bool {
	var b [256]byte
	head, _, _ := bytes.Cut(b[:runtime.Stack(b[:], false)], []byte("\n"))
	return bytes.Contains(head, []byte(", locked to thread"))
}
