//go:build linux

package vspawn

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/seccomp"
)

// A caller is one of the two goroutines: the call under way, if answer is not nil.
type caller struct {
	answer chan string
	cancel context.CancelFunc
	id     chan []byte
	number []byte
}

// A player repeats a run.
type player struct {
	t       *testing.T
	script  string
	p       *Process
	callers [2]caller
	heir    heir
	letGo   func()
	orphan  *orphan
}

// replay repeats a run. It gives an error if no process got the child's number.
func replay(t *testing.T, script string) (err error) {
	r := &player{t: t, script: script, p: startSleep(t, nil)}
	defer r.end()
	for step := range strings.FieldsSeq(script) {
		if ok, err := r.step(step); err != nil || !ok {
			return err
		}
		for i := range r.callers {
			r.callers[i].settle()
		}
	}
	for i := range r.callers {
		if c := &r.callers[i]; len(c.answer) > 0 {
			t.Errorf("%s\nat the end %d=%s", script, i+1, <-c.answer)
			c.answer = nil
		}
	}
	return nil
}

// end has nothing be left.
func (r *player) end() {
	for i := range r.callers {
		if c := &r.callers[i]; c.answer != nil {
			c.cancel()
			<-c.answer
		}
	}
	if r.heir != nil {
		r.heir.over(r.t, r.script)
	}
	if r.letGo != nil {
		r.letGo()
	}
	r.orphan.over(r.t)
	r.p.Close()
	pid := r.p.Pid()
	ended, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
	if err == nil && ended == 0 { // else the number may be another's
		unix.Kill(pid, unix.SIGKILL)
		ignoringEINTR(func() error { _, err := unix.Wait4(pid, nil, 0, nil); return err })
	}
}

// step repeats a step. It is false if the model's answer is not what comes.
func (r *player) step(step string) (ok bool, err error) {
	c := &r.callers[0]
	if step[0] == '2' {
		c = &r.callers[1]
	}
	switch _, call, _ := strings.Cut(step, "."); {
	case strings.Contains(step, "="):
		return c.answered(r.t, r.script, step), nil
	case step == "cancel":
		for i := range r.callers {
			if r.callers[i].answer != nil {
				r.callers[i].cancel()
			}
		}
	case call == "cancel":
		c.cancel()
	case call != "":
		c.begin(r.t.Context(), r.p, call)
	case step == "stranger":
		r.heir, err = newStranger(r.t, r.p.Pid())
	case step == "sibling":
		r.heir, err = newSibling(r.t, r.p.Pid())
	case step == "sibling-end":
		r.heir.(*sibling).ends(r.t)
	case step == "hold":
		r.letGo = traceIt(r.t, r.p)
	case step == "let-go":
		r.letGo()
	case step == "refuse":
		err = seccomp.Deny(unix.EPERM, unix.SYS_WAITID)
	case step == "reaper":
		r.orphan = newReaper()
	case step == "orphan":
		r.orphan.comes(r.t)
	case step == "orphan-end":
		r.orphan.ends(r.t)
	default:
		happens(r.t, r.p.Pid(), step)
	}
	return true, err
}

// answered takes the answer of the call under way.
func (c *caller) answered(t *testing.T, script, step string) bool {
	t.Helper()
	select {
	case got := <-c.answer:
		c.cancel()
		c.answer = nil
		if want := step[2:]; got != want {
			t.Errorf("%s\n%s: %s", script, step, got)
			return false
		}
	case <-time.After(time.Minute):
		t.Errorf("%s\n%s: no answer", script, step)
		return false
	}
	return true
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
