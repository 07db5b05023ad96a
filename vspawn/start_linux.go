package vspawn

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Start starts a child. It returns when the child has become the new program,
// or has failed to: then the error is an [*Error] that names the system call,
// and nothing of the child is left.
//
// When ctx ends while the child is still on its way to the program (its exec
// may hang on a dead network file system, say), the child is killed and Start
// returns the cause. Once Start has returned, ctx is of no more concern.
func (p *Plan) Start(ctx context.Context) (*Process, error) {
	if ctx.Err() != nil {
		return nil, &Error{Step: "start", Err: context.Cause(ctx)}
	}
	f, err := probe()
	if err != nil {
		return nil, err
	}
	if p.stopped { // the thread that starts it also traces it
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	if err := p.supported(f); err != nil {
		return nil, err
	}
	start := p.start
	if p.pdeathsig {
		start = p.startLasting
	}
	proc, err := start(ctx, f)
	if err != nil {
		return p.startAgain(ctx, f, start, err)
	}
	return proc, nil
}

// underWay counts the starts that are.
var underWay atomic.Int64

// passing tells whether the error may be over in a moment. A program may be
// busy; and where a start turns the dumpable flag off, another's child that is
// not root's can't write its own file below /proc meanwhile.
func (p *Plan) passing(err error, f *FeatureSet) bool {
	if p.writesOwnProc && p.undumpable(f) {
		var e *Error
		if errors.As(err, &e) && e.Field == "OOMScoreAdj" && e.Step == "openat" && e.Err == unix.EACCES {
			return dumpable.lent() && !rootFilesAreOurs()
		}
	}
	return errors.Is(err, unix.ETXTBSY)
}

// startAgain tries again when an error is passing. A program was being written
// to: most often the writer has closed it already, and only a child on its way
// to its own exec still has a copy of the descriptor (golang/go#22315): one of
// ours, or one of syscall.ForkExec's, which holds ForkLock meanwhile. An error
// that stays is returned within a second or two.
func (p *Plan) startAgain(ctx context.Context, f *FeatureSet, start func(context.Context, *FeatureSet) (*Process, error), err error) (*Process, error) {
	var proc *Process
	pause := 50 * time.Microsecond
	if !errors.Is(err, unix.ETXTBSY) && p.passing(err, f) {
		dumpable.wanted.Add(1)
		defer dumpable.wanted.Add(-1)
	}
	for tries := 0; p.passing(err, f) && pause < time.Second; tries++ {
		// A child that has let its parent go on may not have closed its files yet,
		// and on a busy machine be kept from it for a while.
		if tries >= 10 && underWay.Load() == 0 && errors.Is(err, unix.ETXTBSY) {
			break
		}
		if errors.Is(err, unix.ETXTBSY) {
			syscall.ForkLock.RLock()   // waits for a ForkExec under way
			syscall.ForkLock.RUnlock() //lint:ignore SA2001 that is all
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
		pause *= 2
		proc, err = start(ctx, f)
	}
	return proc, err
}

// startLasting is start, on a thread that lives as long as the process.
func (p *Plan) startLasting(ctx context.Context, f *FeatureSet) (proc *Process, err error) {
	onLastingThread(func() { proc, err = p.start(ctx, f) })
	return proc, err
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
	l, err := p.load(f)
	if err != nil {
		return nil, err
	}
	sync, report := -1, -1
	var maps *mapWriter
	if p.maps != nil {
		if maps, sync, err = newMapWriter(p, f); err != nil {
			return nil, err
		}
		defer unix.Close(sync)
	}
	var reader, writer *os.File
	if !f.SharedMemory {
		if reader, writer, report, err = reportPipe(max(p.top+p.spares, sync+1)); err != nil {
			return nil, err
		}
		defer reader.Close()
	}
	in := instances.Get().(*instance)
	defer instances.Put(in)
	low := p.lowCopies(f)
	defer low.giveBack()
	in.fill(l, p, f, sync, report, low)

	dumpable.giveWay(ctx, p, f)
	if p.inherits {
		forking.enter()
		defer forking.leave()
	}
	dumpable.enter(p, f)
	if maps != nil {
		go maps.run(in)
	}
	stop := killOnDone(ctx, in)
	underWay.Add(1)
	r := in.spawn()
	underWay.Add(-1)
	runtime.KeepAlive(p)
	if !f.SharedMemory {
		unix.Close(report)
		writer.Close()
		in.readReport(reader) // returns once the child has exec'd or died
	}
	killed := stop()
	var mapErr error
	if maps != nil {
		mapErr = maps.finish()
	}
	dumpable.leave(p, f, maps != nil && maps.change)

	if isErrno(r) {
		return nil, in.createError(p, r)
	}
	proc := newProcess(in, f)
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
	}
	if p.stopped {
		if err := proc.stop(); err != nil {
			proc.Kill()
			proc.discard()
			return nil, err
		}
	}
	return proc, nil
}

// forking holds syscall.ForkLock while children inherit what the plan does not
// know: what others open without O_CLOEXEC for a moment, they open under it.
// The starts share the hold, and don't wait for each other.
var forking forkLock

type forkLock struct {
	mu    sync.Mutex
	users int
}

func (l *forkLock) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users++; l.users == 1 {
		syscall.ForkLock.Lock()
	}
}

func (l *forkLock) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users--; l.users == 0 {
		syscall.ForkLock.Unlock()
	}
}

// killOnDone kills the child when ctx ends. stop ends that, and tells whether
// it happened.
func killOnDone(ctx context.Context, in *instance) (stop func() (killed bool)) {
	if ctx.Done() == nil {
		return func() bool { return false }
	}
	var mu sync.Mutex
	var over, killed bool
	kill := func() (done bool) {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return true
		}
		pid := in.pid()
		if pid == 0 {
			return false // not born yet
		}
		if in.prog.Pidfd >= 0 {
			killed = unix.PidfdSendSignal(int(in.prog.Pidfd), unix.SIGKILL, nil, 0) == nil
		} else {
			killed = unix.Kill(pid, unix.SIGKILL) == nil
		}
		return true
	}
	cancel := context.AfterFunc(ctx, func() {
		for !kill() {
			time.Sleep(time.Millisecond)
		}
	})
	return func() bool {
		cancel()
		mu.Lock()
		defer mu.Unlock()
		over = true
		return killed
	}
}

// isErrno tells whether a system call's result is an error.
func isErrno(r uintptr) bool { return r > ^uintptr(4095) }

// createError is why there is no child.
func (in *instance) createError(p *Plan, r uintptr) error {
	e := &Error{Step: "clone", Object: flagNames(p.cloneFlags), Err: unix.Errno(-r)}
	if in.prog.Create.Nr == unix.SYS_CLONE3 {
		e.Step = "clone3"
	}
	if e.Object != "" {
		e.Field = "Cloneflags"
	}
	switch e.Err {
	case unix.EAGAIN:
		e.Hint = "a limit on the number of processes is reached: RLIMIT_NPROC, the cgroup's pids.max or kernel.pid_max"
	case unix.EPERM:
		if p.cloneFlags != 0 {
			e.Hint = "new namespaces need CAP_SYS_ADMIN, or CLONE_NEWUSER beside them where the system allows it"
		}
	case unix.ENOSPC:
		e.Hint = "a limit on the number of nested namespaces is reached: /proc/sys/user/max_*_namespaces"
	case unix.EBADF:
		e.Field, e.Object, e.Hint = "Cgroup", itoa(p.cgroup), "it must be a directory of a cgroup v2 file system"
	case unix.E2BIG:
		e.Field, e.Object, e.Hint = "Cgroup", itoa(p.cgroup), "needs Linux 5.7 (CLONE_INTO_CGROUP)"
	case unix.EINVAL:
		e.Hint = "the kernel does not have, or does not allow together, what Cloneflags and Cgroup ask for"
	}
	return e
}

// failure is what the failing step ended in.
func (in *instance) failure() error {
	if isErrno(in.prog.Result) {
		return unix.Errno(-in.prog.Result)
	}
	return errUnexpected
}

func (in *instance) stepError(step uintptr, cause error) error {
	if step == 0 { // killed before its first
		return &Error{Step: "start", Err: cause}
	}
	o := in.at(step)
	e := &Error{Step: o.name, Field: o.field, Object: o.objectText(), Err: cause}
	switch {
	case cause == errUnexpected && o.name == "getppid":
		e.Err, e.Hint = unix.ESRCH, "the parent died before Pdeathsig was set"
	case cause == unix.EACCES && o.name == "seccomp":
		e.Hint = "it needs NoNewPrivs, or CAP_SYS_ADMIN in the child"
	case cause == unix.EUSERS && o.name == "setns":
		e.Hint = "a time namespace can't be entered by a child that shares memory: use Cloneflags"
	case cause == unix.EINVAL && o.name == "pivot_root":
		e.Hint = "it must be a mount point, not a shared one (PrivateMounts), and the root that is left not the initramfs (pivot_root(2))"
	case cause == unix.ENOSYS || cause == unix.EOPNOTSUPP:
		e.Hint = "the kernel is too old, or built without it"
	case o.name != "execve":
	case cause == unix.ENOENT:
		if _, err := os.Stat(e.Object); err == nil {
			e.Hint = "the file is there: its interpreter (the #! line, or the dynamic linker) may not be"
		}
	case cause == unix.ENOEXEC:
		e.Hint = "not a program for this machine, or a script without a #! line"
		if f := features.found.Load(); f != nil && !f.MMU {
			e.Hint = "not a program for this machine, which has no MMU and takes only those that run anywhere in memory, or a script without a #! line"
		}
	}
	return e
}

// reportPipe makes the pipe for a child that shares no memory. The child's end
// has a number that no step of the plan touches.
func reportPipe(above int) (r, w *os.File, child int, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, -1, &Error{Step: "pipe2", Err: err}
	}
	if child, err = unix.FcntlInt(w.Fd(), unix.F_DUPFD_CLOEXEC, above+spareRoom); err != nil {
		r.Close()
		w.Close()
		return nil, nil, -1, &Error{Step: "fcntl", Object: "F_DUPFD_CLOEXEC", Err: err}
	}
	return r, w, child, nil
}

// spareRoom keeps the pipe clear of the table's lowest free numbers.
const spareRoom = 16

// lasting are threads that never end, and wait for something to run.
var lasting struct {
	sync.Mutex
	idle []chan func()
}

// onLastingThread runs f on a thread that lives as long as the process.
func onLastingThread(f func()) {
	lasting.Lock()
	var thread chan func()
	if n := len(lasting.idle); n > 0 {
		thread, lasting.idle = lasting.idle[n-1], lasting.idle[:n-1]
	}
	lasting.Unlock()
	if thread == nil {
		thread = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range thread {
				f()
			}
		}()
	}
	done := make(chan struct{})
	thread <- func() { defer close(done); f() }
	<-done
	lasting.Lock()
	lasting.idle = append(lasting.idle, thread)
	lasting.Unlock()
}
