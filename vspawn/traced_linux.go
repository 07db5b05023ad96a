package vspawn

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A traced child is born without CLONE_VFORK: it shares our memory as any
// other, but our thread is not suspended. It is the tracer, and whatever stops
// the child on its way to its exec has to be answered by it.
//
// The child keeps all signals blocked up to its exec, so that they stay pending
// with all that came with them; the program's mask is set from outside, at the
// exec. What can stop it before is its own SIGSTOP, by which it asks for the
// tracer's options, another's SIGSTOP, and a signal that can't be blocked since
// the child itself has caused it.

// addPtrace has the child traced, late. A parent that dies must not leave it
// stopped: the signal at the parent's death guards it until the tracer's
// options do.
func addPtrace(c *compiler) error {
	a := c.attr
	if a.Ptrace && a.StartStopped {
		return refuse("StartStopped", "contradicts Ptrace, which stops the child as well")
	}
	if !a.Ptrace && !a.StartStopped {
		return nil
	}
	c.plan.traced, c.plan.stopped = true, a.StartStopped
	field := c.plan.tracedField()
	deathSignal := func(s arg) {
		c.op(op{field: field, call: sysPrctl, args: []arg{name("PR_SET_PDEATHSIG", unix.PR_SET_PDEATHSIG), s}})
	}
	deathSignal(sig(unix.SIGKILL))
	addParentLives(c, field)
	c.op(op{field: field, call: sysPtrace, args: []arg{name("PTRACE_TRACEME", unix.PTRACE_TRACEME), dec(0), dec(0), dec(0)}})
	c.op(op{field: field, call: sysGetpid, out: arg{kind: argNext}})
	c.op(op{field: field, call: sysTkill, args: []arg{{kind: argResult}, sig(unix.SIGSTOP)}})
	if s := a.deathSignal(); s != 0 {
		deathSignal(sig(s))
	} else {
		deathSignal(dec(0))
	}
	return nil
}

func (p *Plan) tracedField() string {
	if p.stopped {
		return "StartStopped"
	}
	return "Ptrace"
}

// A tracee is a child on its way to the stop in which the caller finds it.
type tracee struct {
	pid     int
	pidfd   int    // or -1
	mask    uint64 // the program's
	stopped bool   // it is to be left stopped, without a tracer
	asked   bool   // the options are set
	execed  bool
	held    bool // someone else has sent it a SIGSTOP
	own     bool // it has had its own
	unknown int  // SIGSTOPs of which nothing says who has sent them
}

// trace follows a traced child to its program's first instruction. When it
// returns, the child shares our memory no more. The thread is the one that has
// started it.
func (p *Plan) trace(in *instance, f *FeatureSet) error {
	t := &tracee{pid: in.pid(), pidfd: -1, mask: in.prog.Mask, stopped: p.stopped}
	if p.mask != nil {
		t.mask = *p.mask
	}
	if f.Pidfd {
		t.pidfd = int(in.prog.Pidfd)
	}
	fail := func(err error, hint string) error {
		return &Error{Step: "ptrace", Field: p.tracedField(), Object: "pid " + itoa(t.pid), Err: err, Hint: hint}
	}
	for {
		s, alive := t.next()
		switch {
		case alive:
		case p.stopped && in.prog.Failed == 0:
			return fail(unix.ESRCH, "the child died before it was the program")
		default:
			return nil // as without a tracer: Failed or Wait tells more
		}
		if s.code == stopExec && p.tracedScore {
			if err := p.writeScore(t.pid); err != nil {
				t.end()
				return err
			}
		}
		there, err := t.answer(s)
		if there {
			return nil
		}
		if err != nil && err != unix.ESRCH { // which is one that was killed just now
			t.end()
			return fail(err, "")
		}
	}
}

// What a tracee is in: a stop of its exec, of the end of a system call, or
// before a signal is delivered.
const (
	stopExec = int32(unix.SIGTRAP) | unix.PTRACE_EVENT_EXEC<<8
	stopCall = int32(unix.SIGTRAP) | 0x80 // PTRACE_O_TRACESYSGOOD
	siTkill  = -6
)

// answer lets a stopped child go on, or leaves it where it is to be: there. That
// is the SIGTRAP with which an exec stops a process that is traced without
// options. As the options are, we make it ourselves, of the end of the execve.
func (t *tracee) answer(s *siginfo) (there bool, err error) {
	if !t.asked {
		const options = unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD
		if err := ptrace(unix.PTRACE_SETOPTIONS, t.pid, 0, options); err != nil {
			return false, err
		}
		t.asked = true
	}
	switch deliver := syscall.Signal(s.signo); {
	case s.code == stopExec:
		t.execed = true
		if err := t.setMask(^setOf(unix.SIGTRAP)); err != nil {
			return false, err
		}
		return false, ptrace(unix.PTRACE_SYSCALL, t.pid, 0, 0)
	case s.code == stopCall:
		return false, ptrace(unix.PTRACE_CONT, t.pid, 0, uintptr(unix.SIGTRAP))
	case t.execed && deliver == unix.SIGTRAP:
		err := t.leave()
		return err == nil, err
	case deliver == unix.SIGSTOP:
		t.stoppedBy(s)
		return false, ptrace(unix.PTRACE_CONT, t.pid, 0, 0)
	default: // its own doing, of which it dies
		return false, ptrace(unix.PTRACE_CONT, t.pid, 0, uintptr(deliver))
	}
}

// stoppedBy notes who has sent a SIGSTOP. Where the kernel has no memory for that, it
// says that nobody has (kernel/signal.c, collect_signal), which it also says of a sender
// outside of our PID namespace. One of these is the child's own, if it does not come otherwise.
func (t *tracee) stoppedBy(s *siginfo) {
	const siUser = 0
	switch {
	case s.code == siTkill:
		t.own = true
	case s.code == siUser && s.pid == 0:
		t.unknown++
	default:
		t.held = true
	}
}

// others tells whether someone else has stopped the child on its way.
func (t *tracee) others() bool {
	return t.held || t.unknown > 1 || t.unknown == 1 && t.own
}

// leave leaves the child in its last stop. No other signal has been let through
// before, so that what is pending finds it stopped.
func (t *tracee) leave() error {
	if err := t.setMask(t.mask); err != nil {
		return err
	}
	if t.stopped {
		return ptrace(unix.PTRACE_DETACH, t.pid, 0, uintptr(unix.SIGSTOP))
	}
	if t.others() {
		unix.Kill(t.pid, unix.SIGSTOP) // once more, for the caller
	}
	return ptrace(unix.PTRACE_SETOPTIONS, t.pid, 0, 0)
}

// next waits until the child is stopped, and tells by what; or until it is
// dead. It asks again and again: a wait of another goroutine's for any child
// may take the news of a stop, but not the stop.
func (t *tracee) next() (s *siginfo, alive bool) {
	s = new(siginfo)
	begin := time.Now()
	for tries := 0; ; tries++ {
		err := ptraceSiginfo(t.pid, s)
		if err == nil {
			return s, true
		}
		if err == unix.EINVAL { // a stop without a signal, by SIGSTOP
			ptrace(unix.PTRACE_CONT, t.pid, 0, 0)
		}
		if t.ended() {
			return nil, false
		}
		t.pause(tries, time.Since(begin))
	}
}

// pause gives the child time, the more the longer it has taken.
func (t *tracee) pause(tries int, taken time.Duration) {
	if tries < 10 {
		schedYield()
		return
	}
	d := unix.NsecToTimespec(int64(min(taken/8, 2*time.Millisecond)))
	unix.Ppoll([]unix.PollFd{{Fd: int32(t.pidfd), Events: unix.POLLIN}}, &d, nil)
}

// ended tells whether the child is dead, without taking its state.
func (t *tracee) ended() bool {
	idType, id := unix.P_PID, t.pid
	if t.pidfd >= 0 {
		idType, id = unix.P_PIDFD, t.pidfd
	}
	var info siginfo
	err := waitid(idType, id, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == unix.ECHILD || err == nil && info.over()
}

// end kills the child, and waits until it is dead. One that has become a user whom
// we may not signal gets the signal from its tracer: an exec's stop does not take it,
// but the next one does, the end of the execve.
func (t *tracee) end() {
	for tries := 0; !t.ended(); tries++ {
		if unix.Kill(t.pid, unix.SIGKILL) == unix.EPERM {
			ptrace(unix.PTRACE_SYSCALL, t.pid, 0, uintptr(unix.SIGKILL))
		}
		t.pause(tries, time.Second)
	}
}

func (t *tracee) setMask(set uint64) error { return ptraceSetMask(t.pid, set) }

func setOf(s syscall.Signal) uint64 { return 1 << (s - 1) }

// waitDead waits for the end of a child that has no pidfd. Of a traced one the
// kernel tells the stops as well, and they stay there for others to take.
func (p *Process) waitDead() error {
	for {
		var info siginfo
		err := ignoringEINTR(func() error { return waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOWAIT, nil) })
		if err != nil || info.over() {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
