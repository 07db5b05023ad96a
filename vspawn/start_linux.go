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
// A child that is stopped by SIGSTOP while it is on its way, as by one that is
// sent to the whole process group, holds Start until SIGCONT comes to it, or ctx
// ends; other stop signals wait for the program, as all signals do that can be
// blocked. One of Ptrace or StartStopped is stopped in the end anyway, and does
// not hold Start once it is traced.
func (p *Plan) Start(ctx context.Context) (*Process, error) {
	if ctx.Err() != nil {
		return nil, &Error{Step: "start", Err: context.Cause(ctx)}
	}
	f, err := probe()
	if err != nil {
		return nil, err
	}
	lasting := p.pdeathsig && !lockedThread()
	if p.traced { // the thread that starts it also traces it
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	if err := p.supported(f); err != nil {
		return nil, err
	}
	start := p.start
	if lasting {
		start = p.startLasting
	}
	proc, err := start(ctx, f)
	if err != nil {
		return p.startAgain(ctx, f, start, err)
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

func (p *Plan) start(ctx context.Context, f *FeatureSet) (*Process, error) {
	if err := p.filesOpen(); err != nil {
		return nil, err
	}
	low, err := p.borrow(f)
	if err != nil {
		return nil, err
	}
	defer low.giveBack()
	l, err := p.load(f)
	if err != nil {
		return nil, err
	}
	links, report := noLinks, -1
	var maps *mapWriter
	if p.maps != nil {
		if maps, err = newMapWriter(p, f, &links); err != nil {
			return nil, err
		}
	}
	defer links.close()
	if err := links.openParent(p, low); err != nil {
		if maps != nil {
			maps.sock.Close()
		}
		return nil, err
	}
	var reader *os.File
	if !f.SharedMemory {
		if reader, report, err = p.reportPipe(); err != nil {
			return nil, err
		}
		defer reader.Close()
	}
	in := instances.Get().(*instance)
	defer instances.Put(in)
	in.fill(l, p, f, links, report, low)

	dumpable.giveWay(ctx, p, f)
	if p.inherits {
		if err := forking.enter(ctx, in); err != nil {
			if maps != nil {
				maps.sock.Close()
			}
			if report >= 0 {
				unix.Close(report)
			}
			return nil, err
		}
	}
	hold := dumpable.enter(p, f)
	if maps != nil {
		maps.hold = hold
		go maps.run(in)
	}
	stop := killOnDone(ctx, p, f, in)
	underWay.Add(1)
	r := in.spawn()
	if p.inherits {
		forking.leave(in)
	}
	var traceErr error
	if p.traced && f.SharedMemory && !isErrno(r) {
		traceErr = p.trace(in, f)
	}
	underWay.Add(-1)
	runtime.KeepAlive(p)
	if !f.SharedMemory {
		unix.Close(report)
		in.readReport(reader) // returns once the child has exec'd or died
	}
	killed := stop()
	var mapErr error
	if maps != nil {
		mapErr = maps.finish()
		hold = maps.hold
	}

	if isErrno(r) {
		dumpable.leave(hold)
		return nil, in.createError(p, r)
	}
	proc := newProcess(in, f)
	defer func() { proc.sharer = dumpable.leaveBehind(hold, proc.pid) }() // dead and reaped, if it has failed
	switch {
	case killed:
		proc.discard()
		return nil, in.stepError(in.prog.At, context.Cause(ctx))
	case mapErr != nil && (in.prog.Failed == 0 || in.failure() == errUnexpected):
		// The child got no maps; else it was dead before they were written.
		proc.discard()
		return nil, mapErr
	case in.prog.Failed != 0:
		proc.discard()
		return nil, in.stepError(in.prog.Failed, in.failure())
	case slices.Contains(p.parents, int(in.prog.Pidfd)):
		proc.Kill()
		proc.discard()
		return nil, closedSince(int(in.prog.Pidfd))
	case traceErr != nil: // and the child is dead
		proc.discard()
		return nil, traceErr
	}
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
