//go:build linux

package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/vspawn/vspawn/vspawn"
)

// nurse has a child go on, now and then, that the foe has stopped where its SIGCONT
// came before: its tracer stops it once more.
func (s *soaker) nurse(p *vspawn.Process, goOn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nursed[p] = goOn
}

func (s *soaker) leave(p *vspawn.Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.nursed, p)
}

func (s *soaker) nursing() (end func()) {
	return regularly(100*time.Millisecond, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, goOn := range s.nursed {
			goOn()
		}
	})
}

// regularly calls f until the end.
func regularly(pause time.Duration, f func()) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(pause + rand.N(pause)):
				f()
			}
		}
	}()
	return func() {
		close(stop)
		<-done
	}
}

// tellWhere says what all goroutines, and all children, are at.
func (s *soaker) tellWhere() {
	stacks := make([]byte, 1<<20)
	fmt.Fprintf(os.Stderr, "%s\nthe children of %d:\n", stacks[:runtime.Stack(stacks, true)], os.Getpid())
	for _, child := range childrenOf(os.Getpid()) {
		pid := strconv.Itoa(child)
		fmt.Fprintln(os.Stderr, pid, words("/proc/"+pid+"/comm"), statusField(pid, "State"), "traced by", statusField(pid, "TracerPid"),
			"signals", statusField(pid, "SigBlk"), statusField(pid, "ShdPnd"), statusField(pid, "SigPnd"), "in", words("/proc/"+pid+"/syscall"),
			words("/proc/"+pid+"/stack"))
	}
}
