package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	vmtest "github.com/hugelgupf/vmtest/qemu"
	"github.com/hugelgupf/vmtest/qemu/qevent"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// Limits say when a guest is given up.
type Limits struct {
	Idle  time.Duration // no event for so long
	Total time.Duration // the whole run
}

// host are the limits on this side: longer than what the guest waits for a
// silent test, and then takes to end it. It knows more, and shall speak first.
func (l Limits) host() Limits { return Limits{l.Idle*3/2 + 30*time.Second, l.Total} }

// A session is one run of a guest, up to its verdict.
type session struct {
	name      string // of the guest
	target    Target
	limits    Limits
	test2json string
	console   *console
	output    io.Writer // what the tests print
	report    func(Status)

	start   time.Time
	current *converter

	mu     sync.Mutex // a converter's events come from a goroutine of their own
	res    *Result
	status Status
	booted bool
	done   *wire.Record
	ran    int
	listed map[string][]string
}

// run boots b and follows it to its end.
func (s *session) run(ctx context.Context, b Boot) *Result {
	s.res = &Result{Target: s.target, Log: s.console.file.Name()}
	s.listed = map[string][]string{}
	s.start = time.Now()
	s.say(func(st *Status) { st.Phase = "booting" })

	vctx, cancel := context.WithTimeout(ctx, s.limits.Total)
	defer cancel()
	// What QEMU has not got rid of when it ends is lost, so the events are taken
	// from it at once, and gone through in their own time.
	received := make(chan wire.Record)
	vm, err := vmtest.StartContext(vctx, vmtest.Arch(s.target.GOARCH), s.machine(b), qevent.EventChannel(wire.Port, received), s.serial)
	if err != nil {
		s.console.Close()
		if ctx.Err() != nil {
			s.res.problem("interrupted%s", s.where())
		} else {
			s.res.problem("QEMU did not start: %v", err)
		}
		return s.res
	}
	events := unbounded(received)
	ended := make(chan error, 1)
	go func() { ended <- vm.Wait() }()

	gaveUp := false
	giveUp := func(format string, args ...any) {
		if !gaveUp {
			gaveUp = true
			s.res.problem(format, args...)
		}
		cancel()
	}
	idle := time.NewTimer(s.limits.Idle)
	defer idle.Stop()
	var vmErr error
	// The end of QEMU is seen before that of the events if these lag behind.
	for ended != nil || events != nil {
		select {
		case rec, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			idle.Reset(s.limits.Idle)
			if err := s.record(rec); err != nil {
				giveUp("%v", err)
			}
		case <-idle.C:
			giveUp("hangs: no event for %v%s", s.limits.Idle, s.where())
		case <-vctx.Done():
			switch {
			case ctx.Err() != nil:
				giveUp("interrupted%s", s.where())
			default:
				giveUp("not finished after %v%s", s.limits.Total, s.where())
			}
			vctx = context.Background() // said once
		case vmErr = <-ended:
			ended = nil
		}
	}
	if s.current != nil {
		if err := s.current.close(); err != nil {
			s.res.problem("%v", err)
		}
	}
	s.res.start, s.res.Wall = s.start, time.Since(s.start)
	s.judge(vmErr, gaveUp)
	return s.res
}

// unbounded passes values on, and takes them in whether anyone wants them or not.
func unbounded[T any](in <-chan T) <-chan T {
	out := make(chan T)
	go func() {
		defer close(out)
		var queue []T
		for in != nil || len(queue) > 0 {
			var first T
			var ready chan<- T
			if len(queue) > 0 {
				first, ready = queue[0], out
			}
			select {
			case v, ok := <-in:
				if !ok {
					in = nil
					continue
				}
				queue = append(queue, v)
			case ready <- first:
				queue = queue[1:]
			}
		}
	}()
	return out
}

// machine sets all that vmtest would take from its VMTEST_* variables, so that
// they can't change a run.
func (s *session) machine(b Boot) vmtest.Fn {
	return func(_ *vmtest.IDAllocator, o *vmtest.Options) error {
		// QEMU ends with this process, however that ends.
		o.QEMUCommand = "setpriv --pdeathsig KILL " + s.target.QEMU
		o.QEMUArgs = append([]string{"-nographic", "-serial", "stdio"}, s.target.machineArgs()...)
		o.Kernel = b.Kernel
		o.KernelArgs = strings.Join(s.target.kernelArgs(b), " ")
		o.Initramfs = b.Initramfs
		o.VMTimeout = 0
		o.SerialOutput = append(o.SerialOutput, s.console)
		return nil
	}
}

// serial chooses the device of the event port where vmtest leaves it to QEMU,
// which on some machines takes one that the kernel has no driver for.
func (s *session) serial(_ *vmtest.IDAllocator, o *vmtest.Options) error {
	i := slices.Index(o.QEMUArgs, "virtio-serial")
	if i < 0 {
		return errors.New("vmtest gives QEMU no virtio-serial device")
	}
	o.QEMUArgs[i] = s.target.Serial
	return nil
}

// record takes in one event.
func (s *session) record(r wire.Record) error {
	switch r.Kind {
	case wire.Boot:
		s.booted = true
		s.res.Kernel = r.Kernel
		s.res.Boot = time.Since(s.start)
	case wire.List:
		s.listed[r.Binary] = r.Tests
		s.say(func(st *Status) { st.Phase, st.Tests = "running", st.Tests+len(r.Tests) })
	case wire.Start:
		s.ran++
		c, err := startConverter(s.test2json, func(e testEvent) { s.event(r.Binary, e) })
		if err != nil {
			return err
		}
		s.current = c
		s.say(func(st *Status) { st.Binary, st.Test = r.Binary, "" })
	case wire.Output:
		if s.current == nil {
			return fmt.Errorf("the guest sent output of %s, which it never started", r.Binary)
		}
		if _, err := s.current.in.Write(r.Data); err != nil {
			return fmt.Errorf("test2json: %w", err)
		}
		// Without the marks that only test2json wants.
		if _, err := s.output.Write(bytes.ReplaceAll(r.Data, []byte{0x16}, nil)); err != nil {
			return err
		}
	case wire.Hung:
		s.res.problem("%s hangs: silent for %s%s", r.Binary, r.Status, s.where())
	case wire.End:
		c := s.current
		s.current = nil
		if c == nil {
			return fmt.Errorf("the guest ended %s, which it never started", r.Binary)
		}
		if err := c.close(); err != nil {
			return err
		}
		s.end(r)
	case wire.Broken:
		s.res.problem("the guest's agent failed: %s", r.Status)
	case wire.Done:
		s.done = &r
		s.say(func(st *Status) { st.Phase, st.Binary, st.Test = "powering off", "", "" })
	default:
		return fmt.Errorf("the guest sent an event of unknown kind %q", r.Kind)
	}
	return nil
}

// event takes in what a test says of itself.
func (s *session) event(binary string, e testEvent) {
	if e.Test == "" {
		return
	}
	s.mu.Lock()
	t := s.res.find(binary, e.Test)
	top := !strings.Contains(e.Test, "/")
	switch e.Action {
	case "run":
		t.began = true
		if top {
			s.status.N++
		}
		s.status.Test = e.Test
	case "output":
		t.Output = append(t.Output, strings.TrimRight(e.Output, "\n"))
	case "pass", "fail", "skip":
		t.Outcome = Outcome(e.Action)
		t.Elapsed = time.Duration(e.Elapsed * float64(time.Second))
	}
	st := s.status
	s.mu.Unlock()
	if e.Action == "run" {
		s.report(st)
	}
}

// end judges one binary.
func (s *session) end(r wire.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var missing []string
	for _, name := range s.listed[r.Binary] {
		if t := s.res.find(r.Binary, name); !t.began {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		s.res.problem("%s did not run %d of its tests: %s", r.Binary, len(missing), strings.Join(missing, ", "))
	}
	bad := false
	for _, t := range s.res.Tests {
		bad = bad || t.Binary == r.Binary && (t.Outcome == Fail || t.Outcome == Unfinished)
	}
	// A failed test explains exit status 1, and only that.
	if r.Status != "" && !(bad && r.Status == "exit status 1") {
		s.res.problem("%s ended with %s", r.Binary, r.Status)
	}
	if n := len(r.Leaked); n > 0 {
		more := ""
		if n > 5 {
			more = fmt.Sprintf(" and %d more", n-5)
		}
		s.res.problem("%s left these processes behind: %s%s", r.Binary, strings.Join(r.Leaked[:min(n, 5)], ", "), more)
	}
}

// judge adds what only the end of the run shows.
func (s *session) judge(vmErr error, gaveUp bool) {
	r := s.res
	r.Console = s.console.tail
	for _, line := range s.console.bad {
		r.problem("the console says: %s", line)
	}
	if s.console.err != nil {
		r.problem("console log: %v", s.console.err)
	}
	switch {
	case gaveUp:
	case !s.booted:
		r.problem("the guest ended before its first event%s", because(vmErr))
	case s.done == nil:
		r.problem("the guest ended without its closing record%s%s", s.where(), because(vmErr))
	case s.done.Ran != s.ran:
		r.problem("the guest says it ran %d binaries; %d began", s.done.Ran, s.ran)
	case vmErr != nil:
		r.problem("QEMU: %v", vmErr)
	}
	if len(r.Problems) == 0 && r.Count(Pass) == 0 && r.Count(Fail) == 0 && r.Count(Unfinished) == 0 {
		r.problem("no test passed: %d skipped, nothing else ran", r.Count(Skip))
	}
}

// because says why QEMU ended, if that is news.
func because(err error) string {
	if err == nil || errors.Is(err, qevent.ErrEventChannelMissingDoneEvent) {
		return ""
	}
	return fmt.Sprintf(" (QEMU: %v)", err)
}

// where names the tests that run now.
func (s *session) where() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.booted {
		return ", from the start of QEMU on"
	}
	var running []string
	for _, t := range s.res.Tests {
		if t.Outcome != Unfinished || !t.began {
			continue
		}
		// A test that runs a subtest is where that is.
		if n := len(running); n > 0 && strings.HasPrefix(t.Binary+" "+t.Name, running[n-1]+"/") {
			running = running[:n-1]
		}
		running = append(running, t.Binary+" "+t.Name)
	}
	if len(running) == 0 {
		return ", with no test running"
	}
	return ", in " + strings.Join(running, ", ")
}

func (s *session) say(change func(*Status)) {
	s.mu.Lock()
	change(&s.status)
	s.status.Target = s.name
	st := s.status
	s.mu.Unlock()
	s.report(st)
}
