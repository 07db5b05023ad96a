package vspawn

import (
	"sync"
	"syscall"
)

// forking holds syscall.ForkLock while children inherit what the plan does not
// know: what others open without O_CLOEXEC for a moment, they open under it.
// The starts share the hold, and don't wait for each other.
var forking forkLock

type forkLock struct {
	mu    sync.Mutex
	users int
}

func (l *forkLock) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users++; l.users == 1 {
		syscall.ForkLock.Lock()
	}
}

func (l *forkLock) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users--; l.users == 0 {
		syscall.ForkLock.Unlock()
	}
}
