//go:build linux

package tests

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// A foe disturbs a process and its children, and no others.
type foe struct {
	pid   int
	does  string       // what it does to the children: "signal", "kill", "stop", "hold", or "all", to the process too
	spare map[int]bool // children that have been met, and whether they are left alone
	stats struct{ signals, stops, childSignals, childKills, childStops int }
}

// soakFoe is at it until the end of its input. Its arguments are the process, what it
// does, and whose process it is itself.
var soakFoe = helper.New("soak-foe", func(args []string) int {
	pid, err1 := strconv.Atoi(args[0])
	by, err2 := strconv.Atoi(args[2])
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	if os.Getuid() != by {
		if err := errors.Join(unix.Setgroups(nil), unix.Setresgid(by, by, by), unix.Setresuid(by, by, by)); err != nil {
			panic(err)
		}
	}
	f := &foe{pid: pid, does: args[1], spare: map[int]bool{}}
	var over atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	for said := false; !over.Load(); {
		begin := time.Now()
		f.once()
		if !said && f.enough() {
			said = true
			fmt.Println("enough")
		}
		// On a slow machine no more than it can take.
		time.Sleep(rand.N(200*time.Microsecond + 2*time.Since(begin)))
	}
	n := &f.stats
	fmt.Printf("foe-signals=%d foe-stops=%d foe-killed=%d foe-kills=%d foe-child-stops=%d\n",
		n.signals, n.stops, n.childSignals+n.childKills, n.childKills, n.childStops)
	return 0
})

// enough tells whether it has done much of all that it does.
func (f *foe) enough() bool {
	n := &f.stats
	if f.does == "all" {
		return n.signals > 5 && n.childSignals > 5 && n.childKills > 5 && n.childStops > 5
	}
	return n.childSignals+n.childKills+n.childStops > 20
}

// once does one thing to one of them.
func (f *foe) once() {
	if f.does != "all" {
		f.child(f.does)
		return
	}
	switch rand.IntN(6) {
	case 0:
		f.sent(unix.Kill(f.pid, anySignal()))
	case 1:
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", f.pid))
		if len(tasks) > 0 {
			tid, _ := strconv.Atoi(filepath.Base(tasks[rand.IntN(len(tasks))]))
			f.sent(unix.Tgkill(f.pid, tid, anySignal()))
		}
	case 2:
		if rand.IntN(10) == 0 && unix.Kill(f.pid, unix.SIGSTOP) == nil {
			time.Sleep(rand.N(time.Millisecond))
			unix.Kill(f.pid, unix.SIGCONT)
			f.stats.stops++
		}
	default:
		f.child([]string{"signal", "signal", "kill", "stop"}[rand.IntN(4)])
	}
}

func (f *foe) sent(err error) {
	if err == nil {
		f.stats.signals++
	}
}

// child does something to a child.
func (f *foe) child(does string) {
	pids := childrenOf(f.pid)
	if len(pids) == 0 {
		return
	}
	pid := pids[rand.IntN(len(pids))]
	if does == "hold" && f.spares(pid) {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// A number that has become another's by now is that of no child, or the descriptor
	// is that of a dead one.
	if stat(strconv.Itoa(pid)).ppid != f.pid {
		return
	}
	send := func(s syscall.Signal) bool { return unix.PidfdSendSignal(fd, s, nil, 0) == nil }
	switch does {
	case "kill":
		if send(unix.SIGKILL) {
			f.stats.childKills++
		}
	case "hold":
		if send(unix.SIGSTOP) {
			f.stats.childStops++
		}
	case "stop":
		if send(unix.SIGSTOP) {
			time.Sleep(rand.N(time.Millisecond))
			send(unix.SIGCONT)
			f.stats.childStops++
		}
	default:
		s := syscall.Signal(1 + rand.IntN(64))
		if send(s) {
			f.stats.childSignals++
		}
		if slices.Contains(stopSignals, s) {
			time.Sleep(rand.N(time.Millisecond))
			send(unix.SIGCONT)
		}
	}
}

// spares tells whether a child is one of the half that get through. One that is stopped
// for ever waits for its context, and so long this one has for the next: where it is the
// faster of the two it would stop each.
func (f *foe) spares(pid int) bool {
	if _, met := f.spare[pid]; !met {
		f.spare[pid] = rand.IntN(2) == 0
	}
	return f.spare[pid]
}

var stopSignals = []syscall.Signal{unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU}

// anySignal is one that a Go program can be told of. 32 to 34 are libc's, which Go
// leaves alone.
func anySignal() syscall.Signal {
	for {
		s := syscall.Signal(1 + rand.IntN(64))
		if s != unix.SIGKILL && s != unix.SIGSTOP && (s < 32 || s > 34) {
			return s
		}
	}
}
