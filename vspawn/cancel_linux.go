package vspawn

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// killOnDone kills the child when ctx ends. stop ends that, and tells whether
// it happened.
func killOnDone(ctx context.Context, in *instance) (stop func() (killed bool)) {
	if ctx.Done() == nil {
		return func() bool { return false }
	}
	var mu sync.Mutex
	var over, killed bool
	kill := func() (done bool) {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return true
		}
		pid := in.pid()
		if pid == 0 {
			return false // not born yet
		}
		if in.prog.Pidfd >= 0 {
			killed = unix.PidfdSendSignal(int(in.prog.Pidfd), unix.SIGKILL, nil, 0) == nil
		} else {
			killed = unix.Kill(pid, unix.SIGKILL) == nil
		}
		return true
	}
	cancel := context.AfterFunc(ctx, func() {
		for !kill() {
			time.Sleep(time.Millisecond)
		}
	})
	return func() bool {
		cancel()
		mu.Lock()
		defer mu.Unlock()
		over = true
		return killed
	}
}
