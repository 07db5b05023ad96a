package vspawn

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// inBubble tells whether this goroutine is in a bubble of testing/synctest, where timers, channels
// and goroutines are the bubble's alone, and of no use once it is over. Time stands still there, from the
// year 2000 on.
func inBubble() bool {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_REALTIME, &now)
	return err == nil && time.Since(time.Unix(now.Unix())).Abs() > time.Hour
}

// timersAreSafe tells whether a timer of ours can be made or set here. In a bubble it would be the
// bubble's, or be set by its clock, which is decades off. With the first timer of the program Go's
// runtime makes its poller, of two descriptors, and ends the process if it can't.
func timersAreSafe() bool {
	if inBubble() {
		return false
	}
	if safeTimers.Load() {
		return true
	}
	var fds [3]int
	n := 0
	for ; n < len(fds); n++ {
		var err error
		if fds[n], err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
			break
		}
	}
	for _, fd := range fds[:n] {
		unix.Close(fd)
	}
	if n == len(fds) {
		safeTimers.Store(true)
	}
	return n == len(fds)
}

// safeTimers is set once there were descriptors enough.
var safeTimers atomic.Bool
