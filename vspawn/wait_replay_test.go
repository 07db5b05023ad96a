//go:build linux

package vspawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWaitReplay repeats runs of the model testdata/wait.pml with real children, and
// wants the model's answers. A line of testdata/wait.scripts is a kernel, with pidfds
// or without, and what happens: 1.Wait is a call of the first of two goroutines,
// 1=state its answer, which comes before the next step; what has no answer yet waits.
// stranger and sibling are processes that get the child's number.
func TestWaitReplay(t *testing.T) {
	text, err := os.ReadFile("testdata/wait.scripts")
	if err != nil {
		t.Fatal(err)
	}
	found, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	emulated := len(exits(t, 0)) > 1
	played := map[string]int{}
	noNumbers := canChooseNumbers()
	for line := range strings.Lines(string(text)) {
		kernel, script, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case kernel == "pidfd" && !found.Pidfd:
			played["skipped: there is no pidfd (Linux 5.4)"]++
			continue
		case emulated && strings.Contains(script, "cont"):
			played["skipped: qemu-user has no WCONTINUED"]++
			continue
		case noNumbers != nil && (strings.Contains(script, "stranger") || strings.Contains(script, "sibling")):
			played[fmt.Sprint("skipped: no number can be chosen (CAP_CHECKPOINT_RESTORE, CONFIG_CHECKPOINT_RESTORE): ",
				noNumbers)]++
			continue
		}
		played[kernel]++
		withFeatures(t, kernel, func(f *FeatureSet) { f.Pidfd = kernel == "pidfd" }, func(t *testing.T) {
			err := replay(t, script)
			for tries := 1; err == errOthers && tries < 10; tries++ {
				err = replay(t, script)
			}
			if err != nil {
				t.Errorf("%s: %v", script, err)
			}
		})
	}
	for what, n := range played {
		if reason, skipped := strings.CutPrefix(what, "skipped: "); skipped {
			t.Run("skipped", func(t *testing.T) { t.Skipf("%d scripts: %s", n, reason) })
		}
	}
	if played["nopidfd"] == 0 || found.Pidfd && played["pidfd"] == 0 {
		t.Errorf("of a kernel no script was repeated: %v", played)
	}
}

// A caller is one of the two goroutines: the call under way, if answer is not nil.
type caller struct {
	answer chan string
	cancel context.CancelFunc
	id     chan []byte
	number []byte
}

// replay repeats a run. It gives an error if no process got the child's number.
func replay(t *testing.T, script string) (err error) {
	p := startSleep(t, nil)
	defer func() {
		p.Close()
		ended, err := unix.Wait4(p.Pid(), nil, unix.WNOHANG, nil)
		if err == nil && ended == 0 { // else the number may be another's
			unix.Kill(p.Pid(), unix.SIGKILL)
			ignoringEINTR(func() error { _, err := unix.Wait4(p.Pid(), nil, 0, nil); return err })
		}
	}()
	var heir heir
	defer func() {
		if heir != nil {
			heir.over(t, script)
		}
	}()
	var callers [2]caller
	defer func() {
		for i := range callers {
			if callers[i].answer != nil {
				callers[i].cancel()
				<-callers[i].answer
			}
		}
	}()
	for _, step := range strings.Fields(script) {
		c := &callers[0]
		if step[0] == '2' {
			c = &callers[1]
		}
		switch _, call, _ := strings.Cut(step, "."); {
		case strings.Contains(step, "="):
			var got string
			select {
			case got = <-c.answer:
			case <-time.After(time.Minute):
				t.Errorf("%s\n%s: no answer", script, step)
				return nil
			}
			c.cancel()
			c.answer = nil
			if want := step[2:]; got != want {
				t.Errorf("%s\n%s: %s", script, step, got)
				return nil
			}
		case step == "cancel":
			for i := range callers {
				if callers[i].answer != nil {
					callers[i].cancel()
				}
			}
		case call == "cancel":
			c.cancel()
		case call != "":
			c.begin(t.Context(), p, call)
		case step == "stranger":
			heir, err = newStranger(t, p.Pid())
		case step == "sibling":
			heir, err = newSibling(t, p.Pid())
		case step == "sibling-end":
			heir.(*sibling).ends(t)
		default:
			happens(t, p.Pid(), step)
		}
		if err != nil {
			return err
		}
		for i := range callers {
			callers[i].settle()
		}
	}
	for i := range callers {
		if c := &callers[i]; len(c.answer) > 0 {
			t.Errorf("%s\nat the end %d=%s", script, i+1, <-c.answer)
			c.answer = nil
		}
	}
	return nil
}

// happens has something happen to the child, and returns when it has.
func happens(t *testing.T, pid int, what string) {
	t.Helper()
	switch what {
	case "stop":
		unix.Kill(pid, unix.SIGSTOP)
		soon(t, "the stop", func() bool { return procState(pid) == 'T' })
	case "cont":
		unix.Kill(pid, unix.SIGCONT)
		soon(t, "the continuation", func() bool { return procState(pid) != 'T' })
	case "end":
		unix.Kill(pid, unix.SIGKILL)
		soon(t, "the end", func() bool { s := procState(pid); return s == 'Z' || s == 0 })
	case "other": // os/exec, say
		if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
			t.Errorf("another's wait: %v", err)
		}
	default:
		t.Fatalf("unknown step %q", what)
	}
}

// procState is the state of a process in proc_pid_stat(5), 0 if there is none.
func procState(pid int) byte {
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
	i := bytes.LastIndexByte(b, ')')
	if err != nil || i < 0 || i+2 >= len(b) {
		return 0
	}
	return b[i+2]
}

func (c *caller) begin(ctx context.Context, p *Process, call string) {
	ctx, c.cancel = context.WithCancel(ctx)
	c.answer, c.id = make(chan string, 1), make(chan []byte, 1)
	go func() {
		var b [64]byte
		number, _, _ := bytes.Cut(b[:runtime.Stack(b[:], false)], []byte(" ["))
		c.id <- number
		c.answer <- answerOf(ctx, p, call)
	}()
	c.number = <-c.id
}

// settle waits until a call has been answered, or waits itself.
func (c *caller) settle() {
	if c.answer == nil {
		return
	}
	for len(c.answer) == 0 {
		all := stacks[:runtime.Stack(stacks, true)]
		_, rest, there := bytes.Cut(all, append(c.number[:len(c.number):len(c.number)], " ["...))
		if there && bytes.HasPrefix(rest, []byte("select")) {
			return
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// stacks has room for what settle looks at.
var stacks = make([]byte, 1<<20)

func answerOf(ctx context.Context, p *Process, call string) string {
	var s *State
	var err error
	switch call {
	case "Wait":
		s, err = p.Wait(ctx)
	case "WaitExit":
		err = p.WaitExit(ctx)
	case "WaitForStopped":
		s, err = p.WaitFor(ctx, Stopped)
	case "WaitForContinued":
		s, err = p.WaitFor(ctx, Continued)
	case "Poll":
		if s, err = p.Poll(); s == nil && err == nil {
			return "none"
		}
	case "Kill":
		if err = p.Kill(); err == nil { // the end comes a moment later
			for st := procState(p.Pid()); st != 'Z' && st != 0; st = procState(p.Pid()) {
				time.Sleep(50 * time.Microsecond)
			}
		}
	case "Close":
		err = p.Close()
	}
	switch {
	case err == os.ErrClosed:
		return "errClosed"
	case err == os.ErrProcessDone:
		return "done"
	case err == context.Canceled:
		return "cancelled"
	case errors.Is(err, unix.ECHILD):
		return "echild"
	case err != nil:
		return fmt.Sprint(err)
	case s == nil:
		return "nil"
	case s.Stopped():
		return "stop"
	case s.Continued():
		return "cont"
	case s.Pid() == p.Pid() && s.Signal() == unix.SIGKILL:
		return "state"
	}
	return s.String()
}
