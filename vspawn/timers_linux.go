package vspawn

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// timersAreSafe tells whether a timer of ours can be made. With the first one of the program Go's
// runtime makes its poller, of two descriptors, and ends the process if it can't. In a bubble
// of testing/synctest a timer would be the bubble's, and never come once that is over; there time stands
// still, from the year 2000 on.
func timersAreSafe() bool {
	if safeTimers.Load() {
		return true
	}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME, &now) != nil || time.Since(time.Unix(now.Unix())).Abs() > time.Hour {
		return false
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
