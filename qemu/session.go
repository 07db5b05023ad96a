package qemu

import (
	"context"
	"io"
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
	said   []string            // by the binary in no test's name
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
	host  string   // where it is on the host
}

// run boots b and follows it to its end.
func (s *session) run(ctx context.Context, b Boot) *Result {
	s.begin()
	s.say(func(st *Status) { st.Phase = "booting" })
	if b.GDB != "" {
		s.say(func(st *Status) { st.Phase = "waiting for gdb" })
	}

	vctx, cancel := context.WithTimeout(ctx, s.limits.Total)
	defer cancel()
	// What nobody takes holds up QEMU, so the events are taken from it at once,
	// and gone through in their own time.
	port := make(chan received)
	line := s.target.testCommand(b, portFile)
	vm, err := vmtest.StartContext(vctx, vmtest.Arch(s.target.GOARCH), starts(line, s.console), carries(port))
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
	ended := make(chan error, 1)
	go func() { ended <- vm.Wait() }()
	vmErr, gaveUp := s.follow(ctx, vctx, cancel, unbounded(port), ended)
	if s.current != nil {
		if err := s.current.close(); err != nil {
			s.res.problem("%v", err)
		}
	}
	s.res.start, s.res.Wall = s.start, time.Since(s.start)
	s.judge(vmErr, gaveUp)
	return s.res
}

// follow takes in what comes of a guest until QEMU has ended and there are no more
// events, and tells how QEMU ended. It ends a guest that is to be given up by cancel;
// vctx ends at the limit, and ctx by an interrupt.
func (s *session) follow(ctx, vctx context.Context, cancel func(), events <-chan received,
	ended <-chan error) (vmErr error, gaveUp bool) {
	giveUp := func(format string, args ...any) {
		if !gaveUp {
			gaveUp = true
			s.res.problem(format, args...)
		}
		cancel()
	}
	idle := time.NewTimer(s.limits.Idle)
	defer idle.Stop()
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
	return vmErr, gaveUp
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

// starts has vmtest start this very line, and hand on what comes of the console.
// Whatever it would add to a line of its own making, or take from its VMTEST_*
// variables, is empty. It splits the command at spaces, which an emulator's path may
// have, and leaves alone what it takes for the command's arguments.
func starts(line []string, console io.WriteCloser) vmtest.Fn {
	return func(_ *vmtest.IDAllocator, o *vmtest.Options) error {
		o.QEMUCommand, o.QEMUArgs = "", line
		o.Kernel, o.KernelArgs, o.Initramfs = "", "", ""
		o.VMTimeout = 0
		o.SerialOutput = append(o.SerialOutput, console)
		return nil
	}
}

func (s *session) say(change func(*Status)) {
	s.mu.Lock()
	change(&s.status)
	s.status.Target = s.name
	st := s.status
	s.mu.Unlock()
	s.report(st)
}
