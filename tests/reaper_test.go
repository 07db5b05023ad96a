//go:build linux

package tests

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// The main goroutine of every process here has the main thread to itself, as a
// Reaper needs it.
func init() { runtime.LockOSThread() }

// leaver leaves an orphan, which runs the command line that it is told to, and
// prints the orphan's pid.
var leaver = helper.New("leaver", func(args []string) int {
	p, err := vspawn.Start(context.Background(), args[0], args, nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(p.Pid())
	return 0
})

// A reapingRun is what the ways of reaping share.
type reapingRun struct {
	ctx         context.Context
	seven, nine string   // programs that end with that status
	orphans     chan int // that were reaped

	mu       sync.Mutex
	failures []string
}

func (r *reapingRun) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *reapingRun) check(way string, status int, err error) {
	if err != nil || status != 7 {
		r.fail("%s: status %d, %v", way, status, err)
	}
}

func (r *reapingRun) byProcessWait() {
	p, err := vspawn.Start(r.ctx, r.seven, nil, nil)
	if err != nil {
		r.fail("start: %v", err)
		return
	}
	s, err := p.Wait(r.ctx)
	if err != nil {
		r.fail("Process.Wait: %v", err)
		return
	}
	r.check("Process.Wait", s.ExitCode(), nil)
}

func (r *reapingRun) byOSExec() {
	cmd := exec.Command(r.seven)
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	r.check("os/exec", cmd.ProcessState.ExitCode(), err)
}

func (r *reapingRun) byWait4() {
	p, err := vspawn.Start(r.ctx, r.seven, nil, nil)
	if err != nil {
		r.fail("start: %v", err)
		return
	}
	pid := p.Pid()
	p.Close()
	var ws unix.WaitStatus
	for err = unix.EINTR; err == unix.EINTR; {
		_, err = unix.Wait4(pid, &ws, 0, nil)
	}
	r.check("wait4", ws.ExitStatus(), err)
}

func (r *reapingRun) orphan() {
	out, err := leaver.Command(r.nine).Output()
	var pid int
	if _, scan := fmt.Sscan(string(out), &pid); err != nil || scan != nil {
		r.fail("leaver: %q, %v", out, err)
		return
	}
	if reaped := <-r.orphans; reaped != pid { // one at a time, so it is this one
		r.fail("orphan %d was left, %d reaped", pid, reaped)
	}
}

// reaping runs a Reaper on its main goroutine, while others start children in
// four ways and wait for them: none may miss the status of its own child, and
// each orphan must be reported with its status. The arguments are the number of
// rounds and two programs, of which one ends with status 7 and one with 9.
var reaping = helper.New("reaping", func(args []string) int {
	rounds, _ := strconv.Atoi(args[0])
	if err := vspawn.Subreaper(); err != nil {
		fmt.Println(err)
		return 1
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	finished := errors.New("finished")
	r := &reapingRun{ctx: ctx, seven: args[1], nine: args[2], orphans: make(chan int, 4*rounds)}
	reaper := vspawn.Reaper{Orphan: func(s *vspawn.State) {
		if s.ExitCode() != 9 {
			r.fail("orphan %d: %v, want status 9", s.Pid(), s)
		}
		r.orphans <- s.Pid()
	}}
	go func() {
		var wg sync.WaitGroup
		for _, way := range []func(){r.byProcessWait, r.byOSExec, r.byWait4, r.orphan} {
			wg.Go(func() {
				for range rounds {
					way()
				}
			})
		}
		wg.Wait()
		cancel(finished)
	}()
	if err := reaper.Run(ctx); err != finished {
		fmt.Println("Run:", err)
		return 1
	}
	for _, f := range r.failures {
		fmt.Println(f)
	}
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WALL, nil); err != unix.ECHILD {
		fmt.Println("a child is left:", err)
		return 1
	}
	return min(len(r.failures), 1)
}, leaver)

// A Reaper takes orphans, with their status, and never that of a child that
// someone waits for: by Process.Wait, by os/exec, or by wait4 on its pid.
func TestReaper(t *testing.T) {
	helper.SkipEmulated(t, "__WNOTHREAD")
	cmd := reaping.Command(strconv.Itoa(helper.Rounds(30)), tiny.Exit(t, 7), tiny.Exit(t, 9))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// Off the main thread, where it would see nothing, or others' children, a
// Reaper does not run.
func TestReaperThread(t *testing.T) {
	result := make(chan error)
	go func() { result <- new(vspawn.Reaper).Run(t.Context()) }()
	var failed *vspawn.Error
	if err := <-result; !errors.As(err, &failed) {
		t.Errorf("got %v", err)
	}
}

// supervising runs a Reaper that starts a service when it is told that one has
// ended, as a supervisor does, and lets another goroutine wait for it. The
// arguments are the number of orphans and two programs, of which one ends with
// status 7 and one with 9.
var supervising = helper.New("supervising", func(args []string) int {
	rounds, _ := strconv.Atoi(args[0])
	seven, nine := args[1], args[2]
	if err := vspawn.Subreaper(); err != nil {
		fmt.Println(err)
		return 1
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	finished := errors.New("finished")
	services := make(chan *vspawn.Process, rounds)
	reaper := vspawn.Reaper{Orphan: func(s *vspawn.State) {
		p, err := vspawn.Start(ctx, seven, nil, nil)
		if err != nil {
			fmt.Println("the service that follows", s, ":", err)
		}
		select {
		case services <- p:
		case <-ctx.Done(): // what was a service was taken for an orphan
		}
	}}
	failed := false
	go func() {
		defer cancel(finished)
		for range rounds {
			out, err := leaver.Command(nine).Output()
			if err != nil {
				failed = true
				fmt.Printf("leaver: %q, %v\n", out, err)
				return
			}
		}
		for range rounds {
			p := <-services
			if p == nil {
				failed = true
				continue
			}
			if err := p.WaitExit(ctx); err != nil { // time for the Reaper to take it
				failed = true
				fmt.Println("WaitExit:", err)
			}
			if s, err := p.Wait(ctx); err != nil || s.ExitCode() != 7 {
				failed = true
				fmt.Println("a service ended with", s, err, "want status 7")
			}
		}
	}()
	if err := reaper.Run(ctx); err != finished {
		fmt.Println("Run:", err)
		return 1
	}
	if failed {
		return 1
	}
	return 0
}, leaver)

// What is started when an orphan has ended is no orphan: the Reaper leaves its
// status to whoever waits for it.
func TestReaperSupervisor(t *testing.T) {
	helper.SkipEmulated(t, "__WNOTHREAD")
	out, err := supervising.Command(strconv.Itoa(helper.Rounds(20)), tiny.Exit(t, 7), tiny.Exit(t, 9)).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
