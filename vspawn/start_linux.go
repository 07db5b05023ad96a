package vspawn

import (
	"context"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Start starts a child. It returns when the child has become the new program,
// or has failed to: then the error is an [*Error] that names the system call,
// and nothing of the child is left.
//
// When ctx ends while the child is still on its way to the program (its exec
// may hang on a dead network file system, say), the child is killed and Start
// returns the cause. One that has become another user, whom the caller may not
// signal, is killed by way of its user's id, which takes Linux 5.4 and an
// fs.suid_dumpable other than 1. Once Start has returned, ctx is of no more
// concern.
//
// A child that is stopped while it is on its way, as by a signal that is sent to
// the whole process group, holds Start until SIGCONT comes to it, or ctx ends.
// SIGSTOP stops it anywhere; SIGTSTP, SIGTTIN and SIGTTOU wait until its mask is
// set, just before the exec, and do not if SignalMask or IgnoreSignals has them.
// All others that can be blocked do what they do to a program from there on. One
// of Ptrace or StartStopped is stopped in the end anyway, and does not hold Start
// once it is traced.
//
// A program that is being written to (ETXTBSY) is tried again for a moment, since
// it may be another child, on its way to its own program, that still has it
// open; but not if this child has done what stays: the caller's Syscalls, a file
// or a FIFO that it has opened by Path, a terminal that it has taken.
func (p *Plan) Start(ctx context.Context) (*Process, error) {
	if ctx.Err() != nil {
		return nil, &Error{Step: "start", Err: context.Cause(ctx)}
	}
	f, err := probe()
	if err != nil {
		return nil, err
	}
	bound, lasting := p.autokillFlags(f), false
	if bound == 0 {
		if lasting, err = p.startsLasting(); err != nil {
			return nil, err
		}
	}
	if p.traced { // the thread that starts it also traces it
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	if err := p.supported(f); err != nil {
		return nil, err
	}
	start := func(ctx context.Context, f *FeatureSet) (*Process, error) {
		passage, err := starts.enter(ctx)
		if err != nil {
			return nil, err
		}
		defer starts.leave(passage)
		if lasting {
			return p.startLasting(ctx, f)
		}
		return p.start(ctx, f, bound)
	}
	proc, err := start(ctx, f)
	if err != nil {
		return p.startAgain(ctx, f, start, err)
	}
	if runtime.GOMAXPROCS(0) == 1 { // who starts one child after the other would let nobody else run, timers too
		runtime.Gosched()
	}
	return proc, nil
}

// supported tells what the plan needs and the kernel has not.
func (p *Plan) supported(f *FeatureSet) error {
	if f.Clone3 {
		return nil
	}
	const hint = "the kernel has no clone3 (Linux 5.3), or a sandbox forbids it"
	if p.cloneFlags&unix.CLONE_INTO_CGROUP != 0 {
		return &Error{Step: "clone", Field: "Cgroup", Err: unix.ENOSYS, Hint: hint}
	}
	if p.cloneFlags&unix.CLONE_NEWTIME != 0 {
		return &Error{Step: "clone", Field: "Cloneflags", Object: "CLONE_NEWTIME", Err: unix.ENOSYS, Hint: hint}
	}
	return nil
}

// A launch is one start, with what it takes of the parent's until it is over.
type launch struct {
	*Plan
	f     *FeatureSet
	bound uint64 // the flags by which the child is bound to its pidfd, or 0
	in    *instance
	low   *lowCopies
	links links
	talk  *answerer // nil if the child asks nothing
	begun bool      // and at work
	hold  hold

	// The pipe of a child that shares no memory: ours, and the child's end or -1.
	reader *os.File
	report int

	cgroup int // a copy of the plan's, or -1

	killed   bool  // by the end of the context
	talkErr  error // the child got no answer
	unread   bool  // what it reports
	traceErr error // it was not brought to its stop, and is dead
}

func (p *Plan) start(ctx context.Context, f *FeatureSet, bound uint64) (*Process, error) {
	s := launch{Plan: p, f: f, bound: bound, links: noLinks, report: -1, cgroup: -1}
	defer s.close()
	if err := s.open(); err != nil {
		return nil, err
	}
	dumpable.giveWay(ctx, p, f)
	if p.inherits {
		if err := forking.enter(ctx, s.in); err != nil {
			return nil, err
		}
	}
	if s.hold = dumpable.enter(p, f); s.hold.refused != nil {
		if p.inherits {
			forking.leave(s.in)
		}
		return nil, s.hold.refused
	}
	r := s.run(ctx)
	if isErrno(r) {
		dumpable.leave(s.hold)
		return nil, s.in.createError(p, r)
	}
	return s.result(ctx)
}

// open makes ready what the child needs.
func (s *launch) open() (err error) {
	if err := s.stillOpen(); err != nil {
		return err
	}
	if s.low, err = s.borrow(s.f); err != nil {
		return err
	}
	if s.cgroup, err = s.copyCgroup(s.low); err != nil {
		return err
	}
	l, err := s.loadBound(s.f, s.bound)
	if err != nil {
		return err
	}
	if l.asks {
		if s.talk, err = newAnswerer(s.Plan, &s.links, s.low); err != nil {
			return err
		}
	}
	if !s.f.SharedMemory {
		if s.reader, s.report, err = s.reportPipe(); err != nil {
			return err
		}
	}
	s.in = instances.Get().(*instance)
	s.in.fill(l, s.Plan, s.f, s.links, s.report, s.low)
	return nil
}

// close gives back what open has made.
func (s *launch) close() {
	if s.in != nil {
		instances.Put(s.in)
	}
	s.closeReport()
	if s.cgroup >= 0 {
		unix.Close(s.cgroup)
	}
	if s.reader != nil {
		s.reader.Close()
	}
	if s.talk != nil && !s.begun {
		s.talk.sock.Close()
	}
	s.links.close()
	s.low.giveBack()
}

func (s *launch) closeReport() {
	if s.report >= 0 {
		unix.Close(s.report)
		s.report = -1
	}
}

// run has the child made, and returns when it is the program, or dead, or was
// never born.
func (s *launch) run(ctx context.Context) (r uintptr) {
	if s.talk != nil {
		s.begun, s.talk.hold = true, s.hold
		go s.talk.run(s.in)
	}
	stop := killOnDone(ctx, s.Plan, s.f, s.in)
	underWay.Add(1)
	r = s.in.spawn()
	if s.inherits {
		forking.leave(s.in)
	}
	if s.traced && s.f.SharedMemory && !isErrno(r) {
		s.traceErr = s.trace(s.in, s.f)
	}
	underWay.Add(-1)
	runtime.KeepAlive(s.Plan)
	if s.reader != nil {
		s.closeReport()
		s.unread = !s.in.readReport(s.reader) // returns once the child has exec'd or died
	}
	s.killed = stop()
	if s.talk != nil {
		s.talkErr = s.talk.finish()
		s.hold = s.talk.hold
	}
	return r
}

// result is what has become of the child. One that has failed is reaped.
func (s *launch) result(ctx context.Context) (*Process, error) {
	in := s.in
	proc := newProcess(in, s.f)
	closed := slices.Contains(s.parents, int(in.prog.Pidfd))
	if closed && proc.Kill() != nil && s.f.Pidfd { // it may be another user, and the flag is off still
		in.killAs(s.Plan, s.f)
	}
	proc.sharer = dumpable.leaveBehind(s.hold, proc.pid)
	var err error
	switch {
	case s.killed:
		err = in.stepError(in.prog.At, context.Cause(ctx))
	case s.talkErr != nil && (s.unread || in.unanswered()):
		err = s.talkErr // else the child had all its answers, or was dead before it could be answered
	case in.prog.Failed != 0:
		err = in.stepError(in.prog.Failed, in.failure())
	case closed:
		err = closedSince(int(in.prog.Pidfd))
	case s.traceErr != nil:
		err = s.traceErr
	}
	if err != nil {
		proc.discard()
		return nil, err
	}
	proc.first = s.cloneFlags&unix.CLONE_NEWPID != 0
	proc.cgroup, s.cgroup = s.cgroup, -1
	return proc, nil
}

// isErrno tells whether a system call's result is an error.
func isErrno(r uintptr) bool { return r > ^uintptr(4095) }

// reportPipe makes the pipe for a child that shares no memory. No step of the
// plan's touches its numbers.
func (p *Plan) reportPipe() (r *os.File, child int, err error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, &Error{Step: "pipe2", Err: err}
	}
	if err := p.asideBoth(&pipe); err != nil {
		return nil, -1, err
	}
	unix.SetNonblock(pipe[0], true) // for the poller
	return os.NewFile(uintptr(pipe[0]), "report"), pipe[1], nil
}
