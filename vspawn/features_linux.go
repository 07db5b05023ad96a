package vspawn

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// full is a kernel that has everything.
var full = &FeatureSet{
	Clone3: true, ClearSighand: true, SharedMemory: true,
	CloseRangeUnshare: true, CloseRangeCloexec: true, LoneCoreDump: true, MMU: true, Pidfd: true, Autokill: true,
}

var features struct {
	sync.Mutex
	found atomic.Pointer[FeatureSet]
}

// Features tells what was found, by trying, when the process first started a
// child or asked.
func Features() (FeatureSet, error) {
	f, err := probe()
	if err != nil {
		return FeatureSet{}, err
	}
	return *f, nil
}

// probe finds the features once. It does so with real children, which exit at
// once: whether a sandbox passes clone3, and whether vfork shares memory, no
// version number tells. They are born without an exit signal, so no SIGCHLD
// tells of them, and a wait for any child does not see them. For want of
// something else, descriptors or memory, it finds nothing, and is called again.
func probe() (*FeatureSet, error) {
	if f := features.found.Load(); f != nil {
		return f, nil
	}
	features.Lock()
	defer features.Unlock()
	if f := features.found.Load(); f != nil {
		return f, nil
	}
	if !asm.Supported {
		return nil, errUnsupported
	}
	err := unapart(findFeatures)
	return features.found.Load(), err
}

// unapart runs f, which makes children that end at once. On a thread whose children
// are born in a new PID namespace the first of them would be its init, and after that
// one's end there could be no others: so f is run in another thread then.
func unapart(f func() error) (err error) {
	if !bornApart() {
		return f()
	}
	inThread(func() { err = f() })
	return err
}

func findFeatures() error {
	var err error
	for _, try := range []struct {
		FeatureSet
		exitSignal unix.Signal
	}{
		{FeatureSet{Clone3: true, ClearSighand: true}, 0},
		{FeatureSet{Clone3: true}, 0}, // Linux 5.3 and 5.4
		{FeatureSet{}, 0},
		{FeatureSet{}, unix.SIGCHLD}, // qemu-user knows no other
	} {
		f := try.FeatureSet
		if err = f.tryClone(try.exitSignal); err == nil {
			f.tryCloseRange()
			f.LoneCoreDump = loneCoreDump()
			f.MMU = hasMMU()
			if err := f.tryAutokill(); err != nil { // when it is known whether our memory may be dumpable
				return err
			}
			features.found.Store(&f)
			return nil
		}
		if !missing(err) {
			break
		}
	}
	return err
}

// missing tells whether the error means that the kernel does not have what was
// tried, or that a sandbox refuses it. Any other is over some time.
func missing(err error) bool {
	var errno unix.Errno
	errors.As(err, &errno)
	switch errno {
	case unix.ENOSYS, unix.EINVAL, unix.E2BIG, unix.EPERM, unix.EACCES:
		return true
	}
	return false
}

// tryClone makes a child that exits, in the way that f says, and looks at what
// came of it. One that somebody has killed before it could say a word tells nothing,
// and is not to be taken for a copy of ours, whose memory need not be guarded
// (dumpable): then there is another.
func (f *FeatureSet) tryClone(exitSignal unix.Signal) error {
	for range tries {
		if told, err := f.tryCloneOnce(exitSignal); told || err != nil {
			return err
		}
	}
	return allKilled()
}

// tries is how many children may be killed by others before they could say a word.
const tries = 100

func allKilled() error {
	return &Error{Step: "clone", Err: unix.EAGAIN, Hint: "all children that were to show what the kernel offers were killed"}
}

func (f *FeatureSet) tryCloneOnce(exitSignal unix.Signal) (told bool, err error) {
	plan := &Plan{compiled: &compiled{ops: []op{{call: sysExitGroup, args: []arg{dec(0)}}}}}
	in, err := f.try(plan, exitSignal)
	if err != nil {
		return false, err
	}
	defer instances.Put(in)
	f.SharedMemory = in.prog.Entered != 0
	err = f.tryPidfd(in)
	end, err2 := in.reapTry()
	return f.SharedMemory || !end.Signaled(), errors.Join(err, err2)
}

// tryPidfd tries the calls on a child that has ended. It is still there, as a
// zombie, so none may fail.
func (f *FeatureSet) tryPidfd(in *instance) (err error) {
	pidfd := int(in.prog.Pidfd)
	if pidfd < 0 {
		pidfd, err = unix.PidfdOpen(in.pid(), 0)
	}
	if err == nil {
		defer unix.Close(pidfd)
		err = unix.PidfdSendSignal(pidfd, 0, nil, 0)
	}
	if err == nil {
		err = ignoringEINTR(func() error {
			return unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED|unix.WNOWAIT|unix.WALL, nil)
		})
	}
	f.Pidfd = err == nil
	f.recall = f.Pidfd && tryRecall(pidfd)
	if err != nil && !missing(err) {
		return &Error{Step: "pidfd_open", Err: err}
	}
	return nil
}

// try runs a plan whose child ends at once. Who calls it reaps the child, and
// gives the instance back.
func (f *FeatureSet) try(plan *Plan, exitSignal unix.Signal) (*instance, error) {
	l, err := plan.load(f)
	if err != nil {
		return nil, err
	}
	in := instances.Get().(*instance)
	in.fill(l, plan, f, noLinks, -1, nil)
	in.setExitSignal(exitSignal)
	hold := dumpable.enter(plan, f)
	if hold.refused != nil {
		instances.Put(in)
		return nil, hold.refused
	}
	r := in.spawn()
	dumpable.leave(hold)
	runtime.KeepAlive(plan)
	if isErrno(r) {
		defer instances.Put(in)
		return nil, in.createError(plan, r)
	}
	return in, nil
}

// reapTry reaps the child, and tells how it has ended.
func (in *instance) reapTry() (end unix.WaitStatus, err error) {
	var info siginfo
	err = ignoringEINTR(func() error { return waitid(unix.P_PID, in.pid(), &info, unix.WEXITED|unix.WALL, nil) })
	end = unix.WaitStatus(info.waitStatus())
	if err != nil && err != unix.ECHILD { // a sandbox; it must not stay a zombie
		err = ignoringEINTR(func() error { _, err := unix.Wait4(in.pid(), &end, unix.WALL, nil); return err })
	}
	if err != nil {
		return 0, &Error{Step: "waitid", Object: "pid " + itoa(in.pid()), Err: err}
	}
	return end, nil
}

// loneCoreDump goes by the version. To try it would cost the life of a process
// that shares memory with the child, and without fork there is none to spare.
// A system call of the same version, futex_waitv, would tell nothing of
// kernels to which distributors have added one of the two. A version errs to
// the safe side alone: what was added to an older kernel is not made use of.
func loneCoreDump() bool { return releaseAtLeast(5, 16) }

// tryCloseRange asks for a range that no descriptor can be in.
func (f *FeatureSet) tryCloseRange() {
	const last = uint(lastDescriptor)
	f.CloseRangeCloexec = unix.CloseRange(last, last, unix.CLOSE_RANGE_CLOEXEC) == nil
	// Sharing is of no use to a child that is a copy.
	f.CloseRangeUnshare = f.SharedMemory && unix.CloseRange(last, last, 0) == nil
}

// hasMMU asks to protect no memory at all. A kernel without an MMU has no such
// call (kernel/sys_ni.c, under "CONFIG_MMU only"), which no sandbox takes away,
// since without it no program could be loaded.
func hasMMU() bool { return unix.Mprotect(nil, unix.PROT_NONE) != unix.ENOSYS }
