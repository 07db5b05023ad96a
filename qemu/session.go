package qemu

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	vmtest "github.com/hugelgupf/vmtest/qemu"

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
	suites    []suite
	selector  *wire.Selector // of the guest's part

	start   time.Time
	current *converter

	mu     sync.Mutex // a converter's events come from a goroutine of their own
	res    *Result
	status Status
	booted bool
	done   *wire.Record
	at     string              // the binary that runs
	last   string              // what test2json said of the binary itself
	again  []string            // tests of the binary that began or ended twice
	listed map[string][]string // all tests of a binary, as it says itself
	chosen map[string][]string // those that it must run
	begun  map[string]bool
	ended  map[string]bool
}

// A suite is what the host knows of a test binary.
type suite struct {
	wire.Binary
	tests []string // that its source has
}

// run boots b and follows it to its end.
func (s *session) run(ctx context.Context, b Boot) *Result {
	s.begin()
	s.say(func(st *Status) { st.Phase = "booting" })

	vctx, cancel := context.WithTimeout(ctx, s.limits.Total)
	defer cancel()
	// What nobody takes holds up QEMU, so the events are taken from it at once,
	// and gone through in their own time.
	port := make(chan received)
	vm, err := vmtest.StartContext(vctx, vmtest.Arch(s.target.GOARCH), s.machine(b), eventPort(s.target.Serial, port))
	if err != nil {
		s.console.Close()
		if ctx.Err() != nil {
			s.interrupted()
		} else {
			s.res.problem("QEMU did not start: %v", err)
		}
		s.res.start, s.res.Wall = s.start, time.Since(s.start)
		return s.res
	}
	events := unbounded(port)
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
	full := s.console.full
	// The end of QEMU is seen before that of the events if these lag behind.
	for ended != nil || events != nil {
		select {
		case rec, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			idle.Reset(s.limits.Idle)
			err := rec.err
			if err == nil {
				err = s.record(rec.Record)
			}
			if err != nil {
				giveUp("%v", err)
			}
		case <-full:
			full = nil
			giveUp("%s%s", consoleFull, s.where())
		case <-idle.C:
			giveUp("hangs: no event for %v%s", s.limits.Idle, s.where())
		case <-vctx.Done():
			switch {
			case ctx.Err() != nil:
				if !gaveUp {
					gaveUp = true
					s.interrupted()
				}
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

// begin readies the session for the first event.
func (s *session) begin() {
	s.res = &Result{Target: s.target, Log: s.console.file.Name()}
	s.listed, s.chosen = map[string][]string{}, map[string][]string{}
	s.begun, s.ended = map[string]bool{}, map[string]bool{}
	s.start = time.Now()
}

// interrupted says that there is no verdict.
func (s *session) interrupted() {
	s.res.Interrupted = true
	s.res.problem("interrupted%s", s.where())
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
		// QEMU ends with this process, however that ends, but not by the signal
		// that a terminal sends to all: it is this process that says why. vmtest
		// splits the command at spaces, which the emulator's path may have.
		o.QEMUCommand = "setsid setpriv --pdeathsig KILL"
		o.QEMUArgs = append([]string{s.target.QEMU, "-nographic", "-serial", "stdio"}, s.target.machineArgs()...)
		o.Kernel = b.Kernel
		o.KernelArgs = strings.Join(s.target.kernelArgs(b), " ")
		o.Initramfs = b.Initramfs
		o.VMTimeout = 0
		o.SerialOutput = append(o.SerialOutput, s.console)
		return nil
	}
}

// record takes in one event. An error is one that no guest of ours sends: it ends
// the run.
func (s *session) record(r wire.Record) error {
	switch {
	case s.done != nil:
		return fmt.Errorf("the guest sent %q after its closing record", r.Kind)
	case s.booted == (r.Kind == wire.Boot):
		return fmt.Errorf("the guest sent %q out of its turn", r.Kind)
	}
	switch r.Kind {
	case wire.Boot:
		s.booted = true
		s.res.Kernel = r.Kernel
		s.res.Boot = time.Since(s.start)
	case wire.List:
		return s.list(r)
	case wire.Start:
		if s.current != nil || s.begun[r.Binary] || len(s.chosen[r.Binary]) == 0 {
			return fmt.Errorf("the guest started %s, which was not to be started then", r.Binary)
		}
		c, err := startConverter(s.test2json, func(e testEvent) { s.event(r.Binary, e) })
		if err != nil {
			return err
		}
		s.current, s.at, s.begun[r.Binary] = c, r.Binary, true
		s.mu.Lock()
		s.last, s.again = "", nil
		s.mu.Unlock()
		s.say(func(st *Status) { st.Binary, st.Test = r.Binary, "" })
	case wire.Output:
		if s.current == nil || s.at != r.Binary {
			return fmt.Errorf("the guest sent output of %s, which does not run", r.Binary)
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
		if c == nil || s.at != r.Binary {
			return fmt.Errorf("the guest ended %s, which does not run", r.Binary)
		}
		s.current, s.at, s.ended[r.Binary] = nil, "", true
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
	s.mu.Lock()
	if e.Test == "" {
		s.last = e.Action
		s.mu.Unlock()
		return
	}
	t := s.res.find(binary, e.Test)
	if t.Outcome != Unfinished && e.Action != "output" || t.began && e.Action == "run" {
		s.again = append(s.again, e.Test)
	}
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
	for _, name := range s.chosen[r.Binary] {
		if t := s.res.find(r.Binary, name); !t.began {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		s.res.problem("%s did not run %d of its tests: %s", r.Binary, len(missing), few(missing))
	}
	var strange []string
	for _, t := range s.res.Tests {
		if top := t.Top(); t.Binary == r.Binary && !slices.Contains(s.chosen[r.Binary], top) && !slices.Contains(strange, top) {
			strange = append(strange, top)
		}
	}
	if len(strange) > 0 {
		s.res.problem("%s ran what was not to run: %s", r.Binary, few(strange))
	}
	bad := false
	for _, t := range s.res.Tests {
		bad = bad || t.Binary == r.Binary && (t.Outcome == Fail || t.Outcome == Unfinished)
	}
	if len(s.again) > 0 {
		s.res.problem("%s ran these more than once: %s", r.Binary, few(s.again))
	}
	if r.Status == "" && !bad && s.last != "pass" && s.last != "skip" {
		s.res.problem("%s ended well, but did not say PASS at its end", r.Binary)
	}
	// A failed test explains exit status 1, and only that.
	if r.Status != "" && !(bad && r.Status == "exit status 1") {
		s.res.problem("%s ended with %s", r.Binary, r.Status)
	}
	if len(r.Leaked) > 0 {
		s.res.problem("%s left these processes behind: %s", r.Binary, few(r.Leaked))
	}
}

// few names the first of a list, and counts the others.
func few(list []string) string {
	const most = 5
	if n := len(list); n > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), n-most)
	}
	return strings.Join(list, ", ")
}

// list takes in a part of what a binary says of its tests. What its source has is
// known here, so that one that ends early is no binary without tests.
func (s *session) list(r wire.Record) error {
	i := len(s.chosen) // the guest lists them in their order, as do the shards
	if i >= len(s.suites) || s.suites[i].Name != r.Binary || len(s.begun) > 0 {
		return fmt.Errorf("the guest listed the tests of %s out of their turn", r.Binary)
	}
	s.listed[r.Binary] = append(s.listed[r.Binary], r.Tests...)
	if r.More {
		return nil
	}
	b, listed := &s.suites[i], s.listed[r.Binary]
	slices.Sort(listed)
	if unique := slices.Compact(slices.Clone(listed)); len(unique) < len(listed) {
		s.res.problem("%s lists %d tests, of which %d are the same as others", r.Binary, len(listed), len(listed)-len(unique))
	}
	without := func(a, b []string) []string {
		return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
	}
	if missing := without(b.tests, listed); len(missing) > 0 {
		s.res.problem("%s lists %d tests, and not %s, which its source has", r.Binary, len(listed), few(missing))
	}
	if strange := without(listed, b.tests); len(strange) > 0 {
		s.res.problem("%s lists %s, which its source has not", r.Binary, few(strange))
	}
	chosen := s.selector.ChooseOf(&b.Binary, listed)
	s.chosen[r.Binary] = chosen
	s.say(func(st *Status) { st.Phase, st.Tests = "running", st.Tests+len(chosen) })
	return nil
}

// judge adds what only the end of the run shows.
func (s *session) judge(vmErr error, gaveUp bool) {
	r := s.res
	r.Console = s.console.tail
	for _, line := range s.console.bad {
		r.problem("the console says: %s", line)
	}
	if s.console.over && !gaveUp { // at its very end
		r.problem("%s", consoleFull)
	}
	if s.console.err != nil {
		r.problem("console log: %v", s.console.err)
	}
	switch {
	case gaveUp:
	case !s.booted:
		r.problem("the guest ended before its first event%s%s", s.agent(), because(vmErr))
	case s.done == nil:
		r.problem("the guest ended without its closing record%s%s", s.where(), because(vmErr))
	case s.done.Ran != len(s.ended):
		r.problem("the guest says it ran %d binaries; %d came to an end", s.done.Ran, len(s.ended))
	case vmErr != nil:
		r.problem("QEMU: %v", vmErr)
	}
	if s.done == nil {
		return
	}
	for _, b := range s.suites {
		chosen, listed := s.chosen[b.Name]
		switch {
		case !listed:
			r.problem("the guest listed no tests of %s", b.Name)
		case len(chosen) > 0 && !s.ended[b.Name]:
			r.problem("the guest ran none of the %d tests of %s", len(chosen), b.Name)
		}
	}
}

// agent is what the agent said on the console, for want of a port.
func (s *session) agent() string {
	said := s.console.agent
	if strings.HasPrefix(said, wire.NoPort) {
		return fmt.Sprintf(": %s; give its modules by MODULES_%s=, or another kernel", strings.TrimPrefix(said, "guest: "), s.target.variable())
	}
	if said != "" {
		return ": " + said
	}
	return ""
}

// because says why QEMU ended, if that is news.
func because(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf(" (QEMU: %v)", err)
}

// where names the tests that run now.
func (s *session) where() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.booted {
		return ", from the start of QEMU on" + s.agent()
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
