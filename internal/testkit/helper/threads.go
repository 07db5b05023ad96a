package helper

import (
	"runtime"
	"sync"
)

// ManyThreads has Go's runtime make threads, which it keeps: so it needs no new one when there is
// none to be had, or when one would take a number that is meant for a child.
func ManyThreads() {
	const many = 16
	var there, over sync.WaitGroup
	there.Add(many)
	for range many {
		over.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			there.Done()
			there.Wait()
		})
	}
	over.Wait()
}
