//go:build linux

package tests

import (
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
	vexec "github.com/vspawn/vspawn/vspawn/exec"
)

// Many goroutines that start children which inherit descriptors share
// syscall.ForkLock, and pass it on all the same: another package's start by
// os/exec comes to its turn among them, as one of them would.
func TestForkLockHeld(t *testing.T) {
	helper.SkipEmulated(t, "way to start a program for its own machine")
	path, _ := quick(t)
	const starters = 32
	var turns atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range starters {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var err error
				if i%2 == 0 {
					err = vexec.Command(path).Run()
				} else {
					var p *vspawn.Process
					if p, err = vspawn.Start(noContext, path, nil, &vspawn.Attr{InheritFiles: true}); err == nil {
						err = reap(p)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
				turns.Add(1)
			}
		})
	}
	for turns.Load() < 2*starters && !t.Failed() {
		if err := vexec.Command(path).Run(); err != nil {
			t.Error(err)
		}
	}
	var waits []int64
	for range helper.Rounds(15) {
		before := turns.Load()
		if err := exec.Command(path).Run(); err != nil {
			t.Error(err)
		}
		waits = append(waits, turns.Load()-before)
	}
	close(stop)
	wg.Wait()
	t.Logf("turns of %d others while os/exec ran a command: %v", starters, waits)
	slices.Sort(waits)
	if median := waits[len(waits)/2]; median > 10*starters {
		t.Errorf("os/exec waited for %d of their turns, want no more than ten of each", median)
	}
}
