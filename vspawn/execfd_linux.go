package vspawn

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// execFD is what is known of execveat of a descriptor alone.
var execFD struct {
	sync.Mutex
	tried, byName bool
}

// execFDByName tells whether a descriptor's program has to be found by a name.
// To the kernel it is /dev/fd/N, which TOMOYO, where it is among the security
// modules, looked up: without a /dev/fd, as in an initramfs, it answered
// ENOENT. Linux 6.12 mended that, and the stable releases of October 2024. A
// file that is no program tells, since TOMOYO is asked first.
func (f *FeatureSet) execFDByName() bool {
	if !f.SharedMemory || releaseAtLeast(6, 12) {
		return false
	}
	execFD.Lock()
	defer execFD.Unlock()
	if !execFD.tried {
		if result := unapart(f.tryExecFD); !shortage(result) && result != errUnexpected { // as if the child was killed
			execFD.tried, execFD.byName = true, result == unix.ENOENT
		}
	}
	return execFD.byName
}

// tryExecFD is what execveat says of a file that is no program.
func (f *FeatureSet) tryExecFD() error {
	// Linux 6.3 and later want to hear that it may be run.
	fd, err := unix.MemfdCreate("none", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("none", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// Four bytes that can be read, or the kernel asks for a module.
	if _, err := unix.Write(fd, []byte("none")); err != nil {
		return err
	}
	c := &compiled{}
	c.ops = []op{{call: sysExecveat, args: []arg{numbered(fd), {val: c.mem.str("")},
		{val: c.mem.strs([]string{"none"})}, {val: c.mem.strs(nil)}, dec(unix.AT_EMPTY_PATH)}}}
	in, err := f.try(&Plan{compiled: c}, 0)
	if err != nil {
		return err
	}
	defer instances.Put(in)
	if pidfd := int(in.prog.Pidfd); pidfd >= 0 {
		unix.Close(pidfd)
	}
	if _, err := in.reapTry(); err != nil {
		return err
	}
	return in.failure()
}

// addExecFD adds the execveat o, and behind it what finds the program by name
// where that is needed: its error is the true one. A script is left to execveat
// alone, which refuses it: its interpreter would start, and find the name gone.
// It tells whether the steps last.
func (l *loaded) addExecFD(o *op, p *Plan, f *FeatureSet) (lasting bool) {
	if !p.execByName || !f.execFDByName() {
		l.add(o, o.args)
		return true
	}
	if isScript(o.object.(int)) {
		l.add(o, o.args)
		return false
	}
	first, byName := *o, *o
	first.flags = asm.Tolerate
	byName.call, byName.explain = sysExecve, explainExec
	l.add(&first, first.args)
	l.add(&byName, []arg{p.execPath, o.args[2], o.args[3]})
	return false
}

// isScript tells whether a descriptor's file begins with #!, if we may read it.
func isScript(fd int) bool {
	b := make([]byte, 2)
	n, err := unix.Pread(fd, b, 0)
	if err == unix.EBADF { // of O_PATH, or open for writing alone
		n = readApart(fd, b)
	}
	return string(b[:max(n, 0)]) == "#!"
}

// readApart opens a descriptor's file again to read its beginning. It does so with
// a table of its own: for a file to be closed in ours would take the locks off it
// that we have by fcntl.
func readApart(fd int, b []byte) (n int) {
	withOwnTable(func() {
		// /proc/self is the process's.
		again, err := unix.Open("/proc/self/fd/"+itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return
		}
		defer unix.Close(again) // and not only when the thread is gone
		n, _ = unix.Pread(again, b, 0)
	})
	return n
}

// withOwnTable runs f in a thread with a table of its own, if there can be one. That
// is a copy: in an empty one the runtime, which any thread may have to collect
// garbage or to wake others, would not find its poller, and end the process.
func withOwnTable(f func()) {
	inThread(func() {
		if unix.Unshare(unix.CLONE_FILES) == nil {
			f()
		}
	})
}

// inThread runs f in a thread that ends with it: not the process's first, which can't
// end, nor one that has children. Those would get the signal at their parent's death,
// and pass to the first thread, where a Reaper would take them for orphans.
func inThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() || threadHasChild() {
			inThread(f) // in another, since this one is locked
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// threadHasChild tells whether this thread has made a child that no one has reaped.
func threadHasChild() bool {
	var info siginfo
	const options = unix.WEXITED | unix.WNOHANG | unix.WNOWAIT | unix.WALL | wnothread
	return ignoringEINTR(func() error { return waitid(unix.P_ALL, 0, &info, options, nil) }) == nil
}
