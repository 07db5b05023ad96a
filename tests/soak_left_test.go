//go:build linux

package tests

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// disturb has the collector, profiles and growing stacks at work.
func (s *soaker) disturb() (end func()) {
	collect := regularly(time.Millisecond, func() {
		begin := time.Now()
		runtime.GC()
		s.figures.collections.Add(1)
		time.Sleep(time.Since(begin)) // lest a slow machine does nothing else
	})
	profile := regularly(50*time.Millisecond, func() {
		if err := pprof.StartCPUProfile(io.Discard); err != nil {
			s.fail("a profile: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
		pprof.StopCPUProfile()
		s.figures.profiles.Add(1)
	})
	grow := regularly(time.Millisecond, func() { growStack(500) })
	return func() {
		collect()
		profile()
		grow()
	}
}

// soakLeft is what must be the same before and after.
type soakLeft struct {
	files      map[string]string
	goroutines int
	lasting    int // and those that the library keeps for Pdeathsig
	threads    int
	objects    uint64
	bytes      uint64
	masks      string // of all threads
	dumpable   int
	own        *state
}

func (s *soaker) left() *soakLeft {
	l := &soakLeft{files: openFiles(), dumpable: s.dumpable}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	l.lasting = bytes.Count(stacks, []byte("created by github.com/vspawn/vspawn/vspawn.onLastingThread"))
	l.goroutines = runtime.NumGoroutine() - l.lasting
	tasks, _ := filepath.Glob("/proc/self/task/*")
	l.threads = len(tasks)
	masks := map[string]bool{}
	for _, task := range tasks {
		masks[statusField("self/task/"+filepath.Base(task), "SigBlk")] = true
	}
	delete(masks, "") // of one that has ended
	l.masks = fmt.Sprint(masks)
	l.own = ownState()
	l.own.Tid, l.own.Tasks, l.own.Pending = 0, nil, 0
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	l.objects, l.bytes = m.HeapObjects, m.HeapAlloc
	return l
}

// What a process may have more after a long time than after a short one, however long it
// was: goroutines and threads that are kept for later, of which there never were so many
// at once before.
const (
	moreObjects = 3000
	moreBytes   = 1 << 20
)

// compare waits until nothing is left that was not there before: what has just ended
// may still be at it.
func (s *soaker) compare(before *soakLeft) {
	var differ []string
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		after := s.left()
		after.dumpable, _ = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if differ = before.differ(after); len(differ) == 0 {
			fmt.Printf("before: %v\nafter:  %v\n", before, after)
			return
		}
		if time.Now().After(end) {
			break
		}
	}
	for _, d := range differ {
		s.fail("%s", d)
	}
	pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
}

func (l *soakLeft) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines and %d that last, %d threads, %d objects of %d bytes",
		len(l.files), l.goroutines, l.lasting, l.threads, l.objects, l.bytes)
}

func (l *soakLeft) differ(after *soakLeft) (differ []string) {
	note := func(format string, args ...any) { differ = append(differ, fmt.Sprintf(format, args...)) }
	if !maps.Equal(l.files, after.files) {
		note("the descriptors were %v, and are %v", l.files, after.files)
	}
	if after.goroutines > l.goroutines {
		note("there were %d goroutines, and are %d", l.goroutines, after.goroutines)
	}
	if most := soakWorkers() + 1; after.lasting > most {
		note("%d goroutines last, and no more than %d were ever needed", after.lasting, most)
	}
	// Each worker may be in a start, in a wait, and locked to a thread at once; there
	// are Pdeathsig's threads, and the runtime's own.
	if most := 4*soakWorkers() + runtime.GOMAXPROCS(0) + 10; after.threads > max(most, l.threads) {
		note("there were %d threads, and are %d, of which %d have a reason", l.threads, after.threads, most)
	}
	if after.objects > l.objects+moreObjects || after.bytes > l.bytes+moreBytes {
		note("there were %d objects of %d bytes, and are %d of %d", l.objects, l.bytes, after.objects, after.bytes)
	}
	if l.masks != after.masks {
		note("the threads' signal masks were %v, and are %v", l.masks, after.masks)
	}
	if l.dumpable != after.dumpable {
		note("the dumpable flag was %d, and is %d", l.dumpable, after.dumpable)
	}
	was, is := reflect.ValueOf(*l.own), reflect.ValueOf(*after.own)
	for i := range was.NumField() {
		name := was.Type().Field(i).Name
		if name != "Files" && !reflect.DeepEqual(was.Field(i).Interface(), is.Field(i).Interface()) {
			note("the process's %s was %v, and is %v", name, was.Field(i), is.Field(i))
		}
	}
	return differ
}

// checkOver looks for children that are left, on the thread whose children the
// Reaper has had.
func (s *soaker) checkOver() {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
		if err == unix.ECHILD {
			return
		}
		if time.Now().After(end) {
			s.fail("a child is left: waitid answers %v", err)
			return
		}
	}
}

// soakOrphans are those that the Reaper has reaped.
type soakOrphans struct {
	mu   sync.Mutex
	came *sync.Cond
	pids map[int]bool
}

func (o *soakOrphans) init() { o.came, o.pids = sync.NewCond(&o.mu), map[int]bool{} }

// reaped is told of an orphan.
func (s *soaker) reaped(state *vspawn.State) {
	if !state.Success() && !s.stormy.Load() {
		s.fail("orphan %d has ended by %v", state.Pid(), state)
	}
	o := &s.orphans
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pids[state.Pid()] = true
	o.came.Broadcast()
}

// await waits for an orphan.
func (o *soakOrphans) await(pid int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.pids[pid] {
		o.came.Wait()
	}
	delete(o.pids, pid)
}
