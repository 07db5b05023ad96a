package vspawn

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// A Reaper reaps orphans: processes that others have left to us because we are
// PID 1 or a subreaper. It takes the status of no child that this process has
// started itself, by whatever means, and that someone here waits for.
//
// The kernel keeps a process's children by the thread that made them, gives
// orphans to the main thread (kernel/exit.c, find_new_reaper), and can wait for
// one thread's children alone (wait(2), __WNOTHREAD). So Run has the main
// thread to itself, and whatever ends there is an orphan:
//
//	func init() { runtime.LockOSThread() } // main runs on the main thread, alone
//
//	func main() {
//		go serve() // starts children, waits for them
//		log.Fatal(new(vspawn.Reaper).Run(context.Background()))
//	}
//
// Children must not be started by main itself before Run, nor by a goroutine
// that then ends without unlocking its thread: the kernel passes a dead
// thread's children to the main thread.
type Reaper struct {
	// Orphan, if not nil, is told of each orphan reaped, one after the other. It
	// is not called on the main thread, so it may start children.
	Orphan func(*State)
}

// Subreaper makes this process the one that orphans among its descendants are
// given to, in place of PID 1, which is that anyway: a process whose parent has ended,
// a daemon that has forked twice, say, is then a child of this one, and stays a zombie
// until this one has waited for it, as a [Reaper] does (prctl(2),
// PR_SET_CHILD_SUBREAPER, Linux 3.4). It is for supervisors, which so see the end of
// all that they have started; it stays set, and no child inherits it.
func Subreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return &Error{Step: "prctl", Object: "PR_SET_CHILD_SUBREAPER", Err: err}
	}
	return nil
}

// errNotMain is why Run does not run.
var errNotMain = errors.New("not on the main thread: call runtime.LockOSThread in an init function, and Run from main")

// Run reaps orphans until ctx ends, and returns its cause.
func (r *Reaper) Run(ctx context.Context) error {
	if unix.Gettid() != unix.Getpid() {
		return &Error{Step: "reap", Err: errNotMain}
	}
	wake := make(chan os.Signal, 1)
	signal.Notify(wake, unix.SIGCHLD)
	defer signal.Stop(wake)
	for {
		for {
			s, err := waitOrphan()
			if err != nil {
				return err
			}
			if s == nil {
				break
			}
			r.tell(s)
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tell calls Orphan on another thread than this one, whose children are all
// taken for orphans, and waits for it.
func (r *Reaper) tell(s *State) {
	if r.Orphan == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Orphan(s)
	}()
	<-done
}

// waitOrphan reaps one of this thread's children. It gives nil if none has
// ended.
func waitOrphan() (*State, error) {
	const options = unix.WEXITED | unix.WNOHANG | unix.WALL | wnothread
	var info siginfo
	s := new(State)
	err := ignoringEINTR(func() error { return waitid(unix.P_ALL, 0, &info, options, &s.rusage) })
	switch {
	case err == unix.ECHILD:
		return nil, nil
	case err != nil:
		return nil, &Error{Step: "waitid", Err: err}
	case info.pid == 0:
		return nil, nil
	}
	s.pid, s.status = int(info.pid), info.waitStatus()
	return s, nil
}

const wnothread = 0x20000000 // __WNOTHREAD, include/uapi/linux/wait.h
