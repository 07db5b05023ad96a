//go:build linux

package tests

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// A soaker starts children for a long time. A foe is beside it while it is stormy.
type soaker struct {
	dir, cgroup string
	sleep       string
	dumpable    int      // the flag at the beginning
	exits       []string // as soakStatuses
	attrs       []*soakAttr

	figures soakFigures
	answers chan struct{} // of the test's
	enough  atomic.Bool   // was done by the foe
	stormy  atomic.Bool
	took    atomic.Int64 // by a start on an average
	orphans soakOrphans

	mu       sync.Mutex
	failures int
	nursed   map[*vspawn.Process]func()
}

type soakFigures struct {
	starts, started, missing, cancelled, lost     atomic.Int64 // a start that is lost had a child that was killed
	exited, killed, strange                       atomic.Int64 // ends; strange are those by a foe
	closed, early, orphans, collections, profiles atomic.Int64
}

func (f *soakFigures) String() string {
	var b strings.Builder
	for _, n := range []struct {
		name string
		n    *atomic.Int64
	}{{"starts", &f.starts}, {"started", &f.started}, {"missing", &f.missing}, {"cancelled", &f.cancelled}, {"lost", &f.lost},
		{"exited", &f.exited}, {"killed", &f.killed}, {"strange", &f.strange}, {"closed", &f.closed}, {"early", &f.early},
		{"orphans", &f.orphans}, {"collections", &f.collections}, {"profiles", &f.profiles}} {
		fmt.Fprintf(&b, " %s=%d", n.name, n.n.Load())
	}
	return b.String()[1:]
}

// The arguments are how much, a directory, a cgroup or nothing, a program that sleeps
// and those that end. What it has to tell are lines, and "storm" and "calm" have an
// answer.
var soakHelper = helper.New("soaker", func(args []string) int {
	s := &soaker{dir: args[1], cgroup: args[2], sleep: args[3], exits: args[4:], nursed: map[*vspawn.Process]func(){},
		answers: make(chan struct{})}
	s.dumpable, _ = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	go s.hear()
	s.took.Store(int64(time.Millisecond))
	s.orphans.init()
	if err := vspawn.Subreaper(); err != nil {
		panic(err)
	}
	// Not a core of each child that is killed, and no more memory for handlers later.
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	signal.Notify(make(chan os.Signal, 1))
	ctx, cancel := context.WithCancelCause(context.Background())
	over := errors.New("over")
	go func() {
		defer cancel(over)
		s.soak(args[0])
	}()
	reaper := vspawn.Reaper{Orphan: s.reaped}
	if err := reaper.Run(ctx); err != over {
		s.fail("Run: %v", err)
	}
	s.checkOver()
	fmt.Println("figures:", s.figures.String())
	if s.failures > 0 {
		return 1
	}
	return 0
}, leaver)

// soak tries each attribute and each way, and goes on at random, first to have
// all that the process keeps made, and then for as much as is asked for: a third in
// peace, and the rest in a storm.
func (s *soaker) soak(amount string) {
	s.tryAll()
	workers := soakWorkers()
	n, err := strconv.Atoi(amount)
	long, err2 := time.ParseDuration(amount)
	if err != nil && err2 != nil {
		s.fail("VSPAWN_SOAK=%s is neither a number nor a duration", amount)
		return
	}
	disturb := s.disturb()
	s.round(workers, max(n/10, 5*workers), long/20)
	disturb()
	before := s.left()
	for end := time.Now().Add(patience); momentary(before.files) && time.Now().Before(end); before = s.left() {
		time.Sleep(time.Millisecond)
	}
	disturb = s.disturb()
	s.round(workers, n/3, long/3)
	s.say("storm")
	s.stormy.Store(true)
	nurse := s.nursing()
	// A foe on a busy machine may come late.
	for s.round(workers, n-n/3, long-long/3); !s.enough.Load(); s.round(workers, 2*workers, 0) {
	}
	s.say("calm")
	nurse()
	disturb()
	s.compare(before)
}

// soakWorkers is how many goroutines start children: without an MMU each child
// takes a piece of memory that can't be swapped or shared.
func soakWorkers() int {
	if helper.MMU() {
		return 16
	}
	return 6
}

// say tells the test something, and waits until it has heeded it.
func (s *soaker) say(what string) {
	fmt.Println(what)
	<-s.answers
}

// hear takes what the test says: an answer, or that the foe has done enough.
func (s *soaker) hear() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "enough" {
			s.enough.Store(true)
			continue
		}
		s.answers <- struct{}{}
	}
	os.Exit(1) // nobody is there any more
}

// round has the workers make n starts, or start for that long. It says now and then
// how far they are, unless they are no farther.
func (s *soaker) round(workers, n int, long time.Duration) {
	var made atomic.Int64
	end := time.Now().Add(long)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				for long > 0 && time.Now().Before(end) || long == 0 && made.Add(1) <= int64(n) {
					s.run()
				}
			})
		}
		all.Wait()
	}()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for last, still := "", 0; ; {
		select {
		case <-done:
			return
		case <-tick.C:
			now := s.figures.String()
			if still++; now != last {
				last, still = now, 0
				fmt.Println(now)
			}
			if still == 6 { // whoever runs the test will take it for a hang soon
				s.tellWhere()
			}
		}
	}
}

// tryAll finds the attributes that can be had here, and starts once in each way.
func (s *soaker) tryAll() {
	for i := range soakAttrs {
		a := &soakAttrs[i]
		if why := s.tryOne(a); why != "" {
			fmt.Printf("without %s: %s\n", a.name, why)
			continue
		}
		s.attrs = append(s.attrs, a)
	}
	for _, way := range soakWays {
		s.once(&way, nil)
	}
	s.once(&leavingWay, nil)
}

func (s *soaker) tryOne(a *soakAttr) (why string) {
	if a.name == "cgroup" && s.cgroup == "" {
		return "there is none"
	}
	if a.name == "program by descriptor" && !bareExec() {
		return "TOMOYO before Linux 6.12 looks for the program in /dev/fd, beside a root or a namespace too"
	}
	for {
		c := s.newStart([]*soakAttr{a})
		c.way = "a first try"
		if c.missing || c.sleeps {
			c.close()
			continue
		}
		defer c.close()
		if c.attr.Ptrace { // whose tracer is the thread
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
		}
		err := c.setUp
		var p *vspawn.Process
		if err == nil {
			p, err = c.start()
		}
		if err == nil && c.born(p, nil) {
			state, err := p.Wait(noContext)
			c.over(p, state, err)
		}
		if err != nil && !slices.ContainsFunc(a.without, func(e unix.Errno) bool { return errors.Is(err, e) }) {
			c.fail("%v", err)
		}
		if err != nil {
			why = err.Error()
		}
		return why
	}
}

func (s *soaker) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures++; s.failures <= 20 {
		fmt.Println("fail:", strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
	}
}
