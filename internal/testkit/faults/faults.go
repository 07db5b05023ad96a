//go:build linux

// Package faults makes single system calls of another process fail, and of the
// children that it starts. A filter of seccomp(2) holds each call of theirs until the
// test says how it goes on: so it sees what calls there are, and no list has to say.
//
// The process calls [Listen] and hands the listener over. What it does between
// Mark(true) and Mark(false) is counted. The calls are those that package vspawn makes
// through package unix, os or asm; what the Go runtime or the C library do by code of
// their own is told by the address it was called from, and is let pass.
package faults

import (
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// beginMark and endMark are no options of prctl's.
const (
	beginMark = 0x76737061
	endMark   = 0x7673706d
)

// Mark says that what is to be counted begins, or ends.
func Mark(begin bool) {
	mark := beginMark
	if !begin {
		mark = endMark
	}
	unix.Syscall(unix.SYS_PRCTL, uintptr(mark), 0, 0)
}

// Origin is the address of this package's code. It tells the supervisor where the
// process, which is the same program, has been loaded.
func Origin() uintptr { return reflect.ValueOf(Mark).Pointer() }

// unfailing are calls of the parent's that are never made to fail, and why.
var unfailing = map[int]string{
	unix.SYS_CLOSE:          "Linux closes the descriptor whatever it answers; no call at all would be the test's leak",
	unix.SYS_RT_SIGPROCMASK: "bad arguments alone make it fail, and where a filter does, the runtime ends the process",
	unix.SYS_GETPID:         "it always succeeds, as the next five do",
	unix.SYS_GETTID:         "",
	unix.SYS_GETUID:         "",
	unix.SYS_GETEUID:        "",
	unix.SYS_GETGID:         "",
	unix.SYS_GETEGID:        "",
	unix.SYS_EXIT:           "a thread's end",
}

// A Call is a system call by its place: the Nth with that number, from 1, of the
// parent's or of its children.
type Call struct {
	Child bool
	Nr    int
	N     int
}

func (c Call) String() string {
	who := "parent"
	if c.Child {
		who = "child"
	}
	return fmt.Sprintf("%s %s %d", who, c.Name(), c.N)
}

// Name is the system call's.
func (c Call) Name() string {
	if n, ok := names[c.Nr]; ok {
		return n
	}
	return fmt.Sprintf("call-%d", c.Nr)
}

// A Fault is a call that is to fail.
type Fault struct {
	Call
	Errno unix.Errno
}

func (f Fault) String() string { return f.Call.String() + "/" + unix.ErrnoName(f.Errno) }

// A Supervisor answers for a process.
type Supervisor struct {
	listener *os.File
	pid      int
	slide    uintptr
	stop     [2]*os.File
	done     chan struct{}

	mu      sync.Mutex
	between bool
	seen    []Call
	counts  map[Call]int // with an N of 0
	fault   *Fault
	hit     bool
}

// Supervise begins to answer for the process pid, by the listener, which it owns.
// origin is that process's.
func Supervise(listener *os.File, pid int, origin uintptr) (*Supervisor, error) {
	s := &Supervisor{listener: listener, pid: pid, slide: origin - Origin(), done: make(chan struct{})}
	var err error
	if s.stop[0], s.stop[1], err = os.Pipe(); err != nil {
		listener.Close()
		return nil, err
	}
	go s.run()
	return s, nil
}

// Watch forgets what was seen, and has fault happen once, if it is not nil.
func (s *Supervisor) Watch(fault *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen, s.counts, s.fault, s.hit = nil, map[Call]int{}, fault, false
}

// Seen are the calls since Watch, and whether the fault has happened.
func (s *Supervisor) Seen() (calls []Call, hit bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen, s.hit
}

// Close ends the answers. What the process still calls then fails with ENOSYS.
func (s *Supervisor) Close() {
	s.stop[1].Close()
	<-s.done
	s.stop[0].Close()
	s.listener.Close()
}

func (s *Supervisor) run() {
	defer close(s.done)
	fds := []unix.PollFd{
		{Fd: int32(s.listener.Fd()), Events: unix.POLLIN},
		{Fd: int32(s.stop[0].Fd()), Events: unix.POLLIN},
	}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			panic(err)
		}
		switch {
		case fds[1].Revents != 0:
			return
		case fds[0].Revents&unix.POLLIN != 0:
			s.answer(int(fds[0].Fd))
		case fds[0].Revents != 0: // there is nobody any more
			fds[0].Fd = -1
		}
	}
}

// answer takes one call.
func (s *Supervisor) answer(listener int) {
	n, err := receive(listener)
	if err == unix.ENOENT || err == unix.EINTR {
		return
	}
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.nr == unix.SYS_PRCTL && (n.args[0] == beginMark || n.args[0] == endMark) {
		s.between = n.args[0] == beginMark
		n.let(listener, 0)
		return
	}
	if !s.between || !s.made(uintptr(n.pc)) {
		n.let(listener, 0)
		return
	}
	c := Call{Child: s.isChild(int(n.pid)), Nr: int(n.nr)}
	if _, never := unfailing[c.Nr]; never && !c.Child {
		n.let(listener, 0)
		return
	}
	s.counts[c]++
	place := c
	place.N = s.counts[c]
	fails := s.fault != nil && !s.hit && s.fault.Call == place
	var errno unix.Errno
	if fails {
		errno = s.fault.Errno
	}
	if n.let(listener, errno) != nil { // a signal has come, and it begins again
		s.counts[c]--
		return
	}
	s.hit = s.hit || fails
	s.seen = append(s.seen, place)
}

// made tells whether the call before pc is one of Go code's that can be made to
// fail: the runtime's own pass, but for those of its poller.
func (s *Supervisor) made(pc uintptr) bool {
	f := runtime.FuncForPC(pc - s.slide - 1)
	if f == nil {
		return false // of the C library, or of the program that the child has become
	}
	return slices.ContainsFunc(callers, func(p string) bool { return strings.HasPrefix(f.Name(), p) })
}

// callers are what the names of functions that make these calls begin with.
var callers = []string{"internal/runtime/syscall", "golang.org/x/sys/unix.", "github.com/vspawn/vspawn/asm.", "syscall."}

// isChild tells whether a thread is not one of the process's own.
func (s *Supervisor) isChild(thread int) bool { return unix.Tgkill(s.pid, thread, 0) == unix.ESRCH }
