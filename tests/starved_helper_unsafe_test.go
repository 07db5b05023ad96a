//go:build linux

package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// starvedHelper starts what a scenario says, again and again, and each time one later
// allocation fails.
var starvedHelper = helper.New("starved", func(args []string) int {
	var setting faultSetting
	if err := json.Unmarshal([]byte(args[0]), &setting); err != nil {
		panic(err)
	}
	runtime.LockOSThread() // the allocations are counted by thread
	spareMemory()
	i := slices.IndexFunc(faultScenarios, func(sc faultScenario) bool { return sc.name == setting.Scenario })
	s := &starved{faultProcess: faultProcess{faultScenario: faultScenarios[i], setting: &setting}}
	s.counts.Errors, s.counts.Ends = map[string]int{}, map[string]int{}
	if s.prepare != nil {
		s.prepare(&setting)
	}
	var err error
	if s.nth, err = unix.Open(failNth, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		panic(err)
	}
	if r, w, err := os.Pipe(); err == nil {
		r.Close() // the runtime's poller is there now, and stays
		w.Close()
	}
	for range 2 { // what is made once
		if s.whole, _, err = s.once(0); err != nil {
			panic(err)
		}
	}
	s.path, s.text = append([]byte(failNth), 0), make([]byte, 8)
	s.keepNumber()
	go s.watch()
	before := s.settled((*faultLeft).isNorm)
	if args[1] == "parent" {
		s.parents()
	} else {
		s.children()
	}
	same := func(l *faultLeft) bool { return reflect.DeepEqual(*l, before) }
	if after := s.settled(same); !same(&after) {
		s.counts.Wrong = append(s.counts.Wrong, fmt.Sprintf("left: %+v, before: %+v", after, before))
	}
	if err := json.NewEncoder(os.Stdout).Encode(&s.counts); err != nil {
		panic(err)
	}
	return 0
})

// failNth takes the number of the allocation of the thread that opens it that is to fail.
const failNth = "/proc/thread-self/fail-nth"

// spareMemory has the runtime ask for neither memory nor threads from now on.
func spareMemory() {
	const much = 64 << 20
	keep := make([]byte, much)
	for i := 0; i < len(keep); i += 4096 {
		keep[i] = 1
	}
	keep = nil
	runtime.GC()
	debug.SetGCPercent(-1)
	stay, done := make(chan bool), make(chan bool)
	for range 8 {
		go func() {
			runtime.LockOSThread()
			done <- true
			<-stay
			runtime.UnlockOSThread()
			done <- true
		}()
		<-done
	}
	close(stay)
	for range 8 {
		<-done
	}
}

// A starved is the process.
type starved struct {
	faultProcess
	nth    int
	text   []byte // for the child to write
	path   []byte
	whole  string // how a child ends
	starts atomic.Int64
	counts starvedCounts
}

// theirNumber is the lowest that is free in a child: what is among the arguments of its
// calls no start uses for itself.
const theirNumber = 40

// keepNumber takes all that are lower. A start before may have left some free, and have
// some still, where it looks at a child behind its exec.
func (s *starved) keepNumber() {
	for fd := 3; fd < theirNumber; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == unix.EBADF {
			if err := unix.Dup3(s.nth, fd, unix.O_CLOEXEC); err != nil {
				panic(err)
			}
		}
	}
}

// once starts a child with the nth allocation of ours failing, if n is not 0, and waits
// for it. hit tells whether there was one.
func (s *starved) once(n int, calls ...vspawn.Syscall) (end string, hit bool, err error) {
	s.counts.Starts++
	s.starts.Add(1)
	s.child = nil
	attr := s.attr(s.setting)
	attr.Syscalls = append(attr.Syscalls, calls...)
	s.arm(n)
	err = s.begin(context.Background(), attr)
	hit = !s.armed()
	s.arm(0)
	if s.child == nil {
		return "", hit, err
	}
	if err == unix.ESRCH {
		err = nil // it has died before it was let go on: its state tells more
	}
	if err != nil {
		s.child.Signal(unix.SIGKILL)
	}
	state, waitErr := s.child.Wait(context.Background())
	if err = errors.Join(err, waitErr); err != nil {
		return "", hit, err
	}
	return state.String(), hit, nil
}

// parents has each allocation of a start fail that is the parent's own.
func (s *starved) parents() {
	for n := 1; ; n++ {
		end, hit, err := s.once(n)
		if hit {
			s.counts.Failed++
		}
		if s.check(n, end, err); !hit {
			break
		}
		if err == nil && end != s.whole {
			s.counts.wrong(n, "the child of a starved parent ended by %s", end)
		}
		s.wholeAgain(n)
	}
}

// children has each allocation fail that a child makes on its way, and those of its
// program's beginning.
func (s *starved) children() {
	const enough = 25 // without an effect in turn
	const most = 1000 // a start makes some hundred
	for n, idle := 1, 0; idle < enough; n++ {
		if n == most {
			s.counts.wrong(n, "there is no end to what fails: %v, %v", s.counts.Errors, s.counts.Ends)
			break
		}
		end, err := s.starvedChild(n)
		if idle++; err != nil || end != s.whole {
			s.counts.Failed++
			idle = 0
		}
		s.check(n, end, err)
		s.wholeAgain(n)
	}
}

// starvedChild starts a child whose nth allocation fails: it opens the file and writes
// to it itself, since the number is the thread's that does.
func (s *starved) starvedChild(n int) (end string, err error) {
	text := strconv.Itoa(n)
	copy(s.text, text)
	at := unix.AT_FDCWD
	place := func(name string, nr uintptr, args ...uintptr) vspawn.Syscall {
		c := vspawn.Syscall{Before: "DefaultSignals", Name: name, Nr: nr, Tolerate: name == "close"}
		copy(c.Args[:], args)
		return c
	}
	for range 10 {
		s.keepNumber()
		end, _, err = s.once(0,
			place("close", unix.SYS_CLOSE, theirNumber), // another start may have had it just now
			place("openat", unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(&s.path[0])), unix.O_WRONLY|unix.O_CLOEXEC),
			place("write", unix.SYS_WRITE, theirNumber, uintptr(unsafe.Pointer(&s.text[0])), uintptr(len(text))))
		var e *vspawn.Error
		if !(errors.As(err, &e) && e.Step == "write" && errors.Is(err, unix.EBADF)) {
			break
		}
		// Behind keepNumber a lower one has become free.
	}
	return end, err
}

// settled is what is left when that is as it should be: the dumpable flag comes back a
// while behind the last child.
func (s *starved) settled(is func(*faultLeft) bool) (left faultLeft) {
	for range 1000 {
		left = leftByFault()
		maps.DeleteFunc(left.Files, func(to string, _ int) bool { return strings.HasSuffix(to, "/fail-nth") }) // keepNumber's
		if is(&left) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return left
}

// check notes what came of a start, and whether it may.
func (s *starved) check(n int, end string, err error) {
	if err == nil {
		s.counts.Ends[end]++
		if !slices.Contains([]string{s.whole, "signal: killed", "signal: segmentation fault", "signal: bus error"},
			strings.TrimSuffix(end, " (core dumped)")) {
			s.counts.wrong(n, "the child ended by %s, and by %s else", end, s.whole)
		}
		return
	}
	var e *vspawn.Error
	var errno unix.Errno
	if !errors.As(err, &e) || e.Step == "" || !errors.As(err, &errno) {
		s.counts.wrong(n, "the error does not say what failed: %v", err)
		return
	}
	s.counts.Errors[e.Step+": "+unix.ErrnoName(errno)]++
	ofProc := errno == unix.ENOENT && strings.HasPrefix(fmt.Sprint(e.Object), "/proc/")
	if !slices.Contains(noMemory, errno) && !slices.Contains(noMemoryIn[e.Step], errno) && !ofProc {
		s.counts.wrong(n, "%v", err)
	}
}

// noMemory is how the kernel says that there is none, and noMemoryIn how some calls do
// besides; files of /proc are not there then.
var (
	noMemory   = []unix.Errno{unix.ENOMEM, unix.EAGAIN}
	noMemoryIn = map[string][]unix.Errno{
		"execve":     {unix.E2BIG, unix.ENOEXEC}, // for the arguments, for the program's first page
		"execveat":   {unix.E2BIG, unix.ENOEXEC},
		"mount":      {unix.ENOSPC},
		"ptrace":     {unix.ESRCH}, // of a child that has died of it in its exec
		"socketpair": {unix.ENFILE},
		"write":      {unix.ENOBUFS}, // to a socket
	}
)

// wholeAgain makes a start without faults.
func (s *starved) wholeAgain(n int) {
	if end, _, err := s.once(0); err != nil || end != s.whole {
		s.counts.wrong(n, "the next child: %q, %v", end, err)
	}
}

// arm has the nth allocation of this thread fail, and none if that is 0.
func (s *starved) arm(nth int) {
	if _, err := unix.Pwrite(s.nth, strconv.AppendInt(nil, int64(nth), 10), 0); err != nil {
		panic(err)
	}
}

// armed tells whether no allocation has failed yet.
func (s *starved) armed() bool {
	var b [16]byte
	n, err := unix.Pread(s.nth, b[:], 0)
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(b[:n])) != "0"
}
