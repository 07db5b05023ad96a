//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWaitReplay repeats runs of the model testdata/wait.pml with real children, and
// wants the model's answers. A line of testdata/wait.scripts is a kernel, with pidfds
// or without, and what happens: 1.Wait is a call of the first of two goroutines,
// 1=state its answer, which comes before the next step; what has no answer yet waits.
// stranger and sibling are processes that get the child's number, hold and let-go a
// tracer's doing, refuse a sandbox's, and orphans go to a Reaper.
func TestWaitReplay(t *testing.T) {
	tracing.Argv() // also where these are skipped
	leaving.Argv()
	if apart != "" {
		if err := replayLine(t, apart); err != nil {
			t.Error(err)
		}
		return
	}
	text, err := os.ReadFile("testdata/wait.scripts")
	if err != nil {
		t.Fatal(err)
	}
	found, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	can := canReplay(t)
	played := map[string]int{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		kernel, script, _ := strings.Cut(line, " ")
		if kernel == "pidfd" && !found.Pidfd {
			played["skipped: there is no pidfd (Linux 5.4)"]++
			continue
		}
		if why := can.not(script); why != "" {
			played["skipped: "+why]++
			continue
		}
		played[kernel]++
		if err := replayLine(t, line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
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

// cannot is why scripts with a step can't be replayed here.
type cannot map[string]string

func (c cannot) not(script string) string {
	for step := range strings.FieldsSeq(script) {
		if why := c[step]; why != "" {
			return why
		}
	}
	return ""
}

func canReplay(t *testing.T) cannot {
	c := cannot{}
	if len(exits(t, 0)) > 1 {
		c["cont"] = "qemu-user has no WCONTINUED"
		c["hold"], c["refuse"] = "qemu-user has no ptrace", "qemu-user has no seccomp"
		c["reaper"] = "qemu-user has no __WNOTHREAD"
	}
	if err := canChooseNumbers(); err != nil {
		why := fmt.Sprint("no number can be chosen (CAP_CHECKPOINT_RESTORE, CONFIG_CHECKPOINT_RESTORE): ", err)
		c["stranger"], c["sibling"] = why, why
	}
	return c
}

// replayLine repeats a run, in a process of its own if it needs that.
func replayLine(t *testing.T, line string) (err error) {
	kernel, script, _ := strings.Cut(line, " ")
	if apart == "" && needsApart(script) {
		return replayApart(line)
	}
	withFeatures(t, kernel, func(f *FeatureSet) { f.Pidfd = kernel == "pidfd" }, func(t *testing.T) {
		err = replay(t, script)
		for tries := 1; err == errOthers && tries < 10; tries++ {
			err = replay(t, script)
		}
	})
	return err
}

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
	case errors.Is(err, unix.EPERM):
		return "eperm"
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
