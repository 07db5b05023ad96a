package vspawn

import (
	"context"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// killOnDone kills the child when ctx ends. stop ends that, and tells whether
// it happened.
func killOnDone(ctx context.Context, p *Plan, f *FeatureSet, in *instance) (stop func() (killed bool)) {
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
		if in.pid() == 0 {
			return false // not born yet
		}
		err := in.kill()
		if err == unix.EPERM {
			err = in.killAs(p, f)
		}
		killed = err == nil
		return err != unix.EAGAIN && err != unix.ENOMEM && err != unix.EMFILE
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

// kill kills the child, which no one has reaped.
func (in *instance) kill() error {
	if in.prog.Pidfd >= 0 {
		return unix.PidfdSendSignal(int(in.prog.Pidfd), unix.SIGKILL, nil, 0)
	}
	return unix.Kill(in.pid(), unix.SIGKILL)
}

// killAs kills a child that has become a user whom we may not signal, without
// CAP_KILL. It has another child do that, which becomes the same user: by its
// effective id alone, which is enough to signal him (kill(2)), but not to be
// signalled or traced by him, as one must not be who shares our memory. Its
// other ids are ours. It makes no difference to the dumpable flag, which the
// first child has turned off, unless the kernel turns it on for such a change
// (fs.suid_dumpable 1): then it is not done.
func (in *instance) killAs(p *Plan, f *FeatureSet) error {
	uid, ok := p.user()
	if setting, err := os.ReadFile("/proc/sys/fs/suid_dumpable"); !ok || err != nil || string(setting) == "1\n" {
		return unix.EPERM
	}
	// Its number may be another's to the killer, in the PID namespace of the
	// children of a thread that has called unshare.
	pidfd := int(in.prog.Pidfd)
	if pidfd < 0 {
		var err error
		if pidfd, err = unix.PidfdOpen(in.pid(), 0); err != nil {
			return err
		}
		defer unix.Close(pidfd)
	}
	keep := arg{val: 1<<32 - 1}
	return f.runToEnd(&Plan{compiled: &compiled{ops: []op{
		{call: sysSetresuid, args: []arg{keep, {val: uid}, keep}},
		{call: sysPidfdSendSignal, args: []arg{numbered(pidfd), sig(unix.SIGKILL), dec(0), dec(0)}},
		{call: sysExitGroup, args: []arg{dec(0)}},
	}}})
}

// user is who the child becomes.
func (p *Plan) user() (uid uintptr, ok bool) {
	for i := range p.ops {
		if o := &p.ops[i]; o.nr == sysSetresuid.nr {
			uid, ok = o.args[0].val, true
		}
	}
	return uid, ok
}

// runToEnd runs a plan whose child ends with status 0, or fails. No one is told
// of that child.
func (f *FeatureSet) runToEnd(plan *Plan) error {
	l, err := plan.load(f)
	if err != nil {
		return err
	}
	in := instances.Get().(*instance)
	defer instances.Put(in)
	in.fill(l, plan, f, noLinks, -1, nil)
	if f.SharedMemory { // qemu-user knows no other signal
		in.setExitSignal(0)
	}
	r := in.spawn()
	runtime.KeepAlive(plan)
	if isErrno(r) {
		return unix.Errno(-r)
	}
	if pidfd := int(in.prog.Pidfd); pidfd >= 0 {
		unix.Close(pidfd)
	}
	var ws unix.WaitStatus
	if err := ignoringEINTR(func() error { _, err := unix.Wait4(in.pid(), &ws, unix.WALL, nil); return err }); err != nil {
		return err
	}
	switch {
	case in.prog.Failed != 0:
		return in.failure()
	case ws.Signaled() && ws.Signal() == unix.SIGKILL:
		return unix.EAGAIN // by somebody else, before it could do its work
	case ws != 0:
		return unix.EPERM // in a copy of our memory something failed
	}
	return nil
}
