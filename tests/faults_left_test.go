//go:build linux

package tests

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/faults"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// A faultLeft is what there is in a process after a start.
type faultLeft struct {
	Files      map[string]int // by what they are
	Children   string
	Dumpable   int
	Masks      []string // of its threads, each once
	Nofile     unix.Rlimit
	Dir        string
	OOMScore   string
	Goroutines []string
	Threads    bool // that there are many
}

// lastingGoroutines are those that package vspawn and the runtime keep.
var lastingGoroutines = []string{
	"vspawn.(*poller).start", "vspawn.onLastingThread", "os/signal.", "runtime.ensureSigM", "(*starved).watch",
}

func leftByFault() faultLeft {
	l := faultLeft{Files: faultFiles(), OOMScore: words("/proc/self/oom_score_adj")}
	var info unix.Siginfo
	const options = unix.WEXITED | unix.WNOHANG | unix.WNOWAIT | unix.WALL
	if err := unix.Waitid(unix.P_ALL, 0, &info, options, nil); err != unix.ECHILD {
		l.Children = fmt.Sprint("waitid answers ", err)
	}
	l.Dumpable, _ = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	unix.Getrlimit(unix.RLIMIT_NOFILE, &l.Nofile)
	l.Dir, _ = os.Getwd()
	lists, _ := filepath.Glob("/proc/self/task/*/status")
	for _, status := range lists {
		if mask := fieldOf(text(status), "SigBlk"); mask != "" && !slices.Contains(l.Masks, mask) {
			l.Masks = append(l.Masks, mask)
		}
	}
	slices.Sort(l.Masks)
	const many = 40
	l.Threads = len(lists) > many
	stacks := make([]byte, 256<<10)
	for _, g := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n")[1:] {
		if !slices.ContainsFunc(lastingGoroutines, func(of string) bool { return strings.Contains(g, of) }) {
			l.Goroutines = append(l.Goroutines, g)
		}
	}
	return l
}

// faultFiles are the descriptors, without the numbers of pipes and the pollers'.
func faultFiles() map[string]int {
	files := map[string]int{}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if to = pipeNumber.ReplaceAllString(to, ""); err == nil && !strings.HasPrefix(to, "anon_inode:[event") {
			files[to]++
		}
	}
	maps.DeleteFunc(files, func(to string, _ int) bool { return slices.Contains(libcFiles, to) })
	return files
}

var pipeNumber = regexp.MustCompile(`:\[\d+\]$`)

// normalize makes states of different children alike: what is a number elsewhere is
// said by how it stands to the parent's own.
func (s *state) normalize(own *state, parent int) {
	delete(s.Files, tiny.FD)
	relative := func(id *int) {
		switch *id {
		case 0:
		case s.Pid:
			*id = -1
		case own.Pgid, own.Sid:
			*id = -2
		case parent:
			*id = -3
		default:
			*id = -4
		}
	}
	for _, id := range []*int{&s.Pgid, &s.Sid, &s.Ppid, &s.Foreground} {
		relative(id)
	}
	s.Pid, s.Tgid, s.Tid = 0, 0, 0
	if s.Keyring != own.Keyring {
		s.Keyring = -1
	}
	s.Scheduling.Cookie = min(s.Scheduling.Cookie, 1)
	for name, link := range s.Namespaces {
		if s.Namespaces[name] = "new"; link == own.Namespaces[name] {
			s.Namespaces[name] = "the parent's"
		}
	}
	for i, m := range s.Mounts {
		s.Mounts[i] = mountNumbers.ReplaceAllString(m, "")
	}
}

// mountNumbers are the numbers of a mount, its parent's, its device's, its peers'.
var mountNumbers = regexp.MustCompile(`^\d+ \d+ \d+:\d+|(shared|master|propagate_from):\d+`)

// sameState compares what children say of themselves.
func sameState(t *testing.T, got, want *state) {
	t.Helper()
	g, w := reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem()
	for i := range g.NumField() {
		if !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			t.Errorf("the child's %s: %v, want %v", g.Type().Field(i).Name, g.Field(i), w.Field(i))
		}
	}
}

// left is what there is in the process.
func (f *faulty) left(t *testing.T) faultLeft {
	t.Helper()
	return f.ask(t, "left", nil).Left
}

// norm is left without faults, once vspawn's own look at its children behind a start is
// over, which reads below /proc, and the dumpable flag is back, which waits for that.
func (f *faulty) norm(t *testing.T) faultLeft {
	t.Helper()
	left, ok := f.settle(t, (*faultLeft).isNorm)
	if !ok {
		t.Fatalf("without faults there is %+v", left)
	}
	return left
}

// isNorm tells whether it is what a process has that does nothing. A goroutine that has
// not run yet is none of the lasting ones, by its stack.
func (l *faultLeft) isNorm() bool {
	for name := range l.Files {
		if strings.HasPrefix(name, "/proc/") {
			return false
		}
	}
	return l.Dumpable == 1 && len(l.Masks) == 1 && l.Goroutines == nil
}

// leavesNothing checks that there is nothing more than want.
func (f *faulty) leavesNothing(t *testing.T, fault faults.Fault, want faultLeft) {
	t.Helper()
	left, ok := f.settle(t, func(left *faultLeft) bool {
		if fault.Nr == unix.SYS_PRCTL && !fault.Child && left.Dumpable == 0 {
			left.Dumpable = want.Dumpable // it could not be turned on again, which is the safe side
		}
		return reflect.DeepEqual(*left, want)
	})
	if !ok {
		t.Errorf("there was %+v, and is %+v", want, left)
	}
}

// settle waits until what is left is as it should be. A thread that the runtime is
// making has all signals blocked for a moment, and a goroutine that has done its work is
// about to end. What is not has been seen for half a minute and a hundred times, if the
// machine is so slow that these take longer.
func (f *faulty) settle(t *testing.T, ok func(*faultLeft) bool) (left faultLeft, settled bool) {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for n := 0; n < 100 || time.Now().Before(end); n++ {
		if left = f.left(t); ok(&left) {
			return left, true
		}
		time.Sleep(time.Duration(min(n, 50)) * time.Millisecond)
	}
	return left, false
}
