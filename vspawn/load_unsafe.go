//go:build linux

package vspawn

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// loaded is a Plan as asm takes it, for one kernel. What differs from one
// start to the next is filled in by the fixups.
type loaded struct {
	kernel *FeatureSet
	steps  []asm.Step
	ops    []*op // the op behind each step
	fixups []fixup
	flags  uint64
	asks   bool   // the child asks its parent
	bound  uint64 // the flags among those that bind the child to its pidfd, or 0
}

// A fixup is a word of a Step that has its value only at the start: the
// address of something in the Program, or a descriptor.
type fixup struct {
	step int
	word stepWord
	arg  arg
}

type stepWord int

const outWord stepWord = 6 // 0 to 5 are the arguments

// load makes the steps for a kernel with the features f, on the thread that is
// to make the child.
func (p *Plan) load(f *FeatureSet) (*loaded, error) { return p.loadBound(f, 0) }

// loadBound is load for a child that is bound to its pidfd by the flags given.
func (p *Plan) loadBound(f *FeatureSet, bound uint64) (*loaded, error) {
	if err := p.checkApart(); err != nil {
		return nil, err
	}
	apart := p.mayAsk && bornApart()
	if l := p.ready.Load(); l != nil && l.kernel == f && l.bound == bound && !apart {
		return l, nil
	}
	l := &loaded{kernel: f, flags: p.flags(f) | bound, asks: p.asks || apart, bound: bound}
	lasting := !p.writesOwnProc && !apart // does not depend on the process's present state
	lower := p.lowersOOMScoreAdj()
	for i := range p.ops {
		o := &p.ops[i]
		switch {
		case o.kind == opUnshareFiles:
			if p.shares(f) {
				l.add(o, []arg{{kind: argTop, val: uintptr(p.top)}, {val: lastDescriptor}, dec(unix.CLOSE_RANGE_UNSHARE)})
			}
		case o.kind == opCloseRange && p.closed(o, f, l.asks), o.kind == opClosePeer && !l.asks:
		case o.kind == opCloseRange && !f.CloseRangeCloexec:
			lasting = false
			if err := l.closeEach(o, p.opens, p.mostOpened); err != nil {
				return nil, err
			}
		case o.kind == opResetHandlers:
			if !f.ClearSighand {
				lasting = false
				if err := l.resetEach(o); err != nil {
					return nil, err
				}
			}
		case o.kind == opScheduler:
			lasting = false
			if err := l.schedule(o); err != nil {
				return nil, err
			}
		case o.kind == opLowerOOMScoreAdj && !lower || o.kind == opRaiseOOMScoreAdj && lower:
		case o.kind == opDeathSignal && bound != 0:
		case o.kind == opParent && apart:
			for _, o := range question(o.field) {
				l.add(&o, o.args)
			}
		case o.kind == opExecFD:
			lasting = l.addExecFD(o, p, f) && lasting
		default:
			l.add(o, o.args)
			if p.undumpable(f) && o.redumps() {
				l.add(&undump, undump.args)
			}
		}
	}
	if lasting {
		p.ready.Store(l)
	}
	return l, nil
}

func (l *loaded) add(o *op, args []arg) {
	s := asm.Step{Nr: o.nr, Flags: o.flags, Want: o.want.val}
	for i, a := range args {
		l.word(stepWord(i), &s.Args[i], a)
	}
	l.word(outWord, &s.Out, o.out)
	l.steps = append(l.steps, s)
	l.ops = append(l.ops, o)
}

func (l *loaded) word(w stepWord, to *uintptr, a arg) {
	switch a.kind {
	case argConst:
		*to = a.val
		return
	case argResult:
		return
	}
	l.fixups = append(l.fixups, fixup{len(l.steps), w, a})
}

// defaultAction is a struct sigaction that means SIG_DFL.
var defaultAction = new([sigactionWords]uint64)

// resetEach gives each caught signal its default action, for kernels without
// CLONE_CLEAR_SIGHAND (before 5.5).
func (l *loaded) resetEach(o *op) error {
	for s := 1; s <= maxSignal; s++ {
		handler, errno := disposition(unix.Signal(s))
		switch {
		case errno == unix.EINVAL: // there is no such signal, or it is qemu-user's own
		case errno != 0:
			return refused(o.name, o.field, signalName(unix.Signal(s)), errno)
		case handler != sigDfl && handler != sigIgn:
			l.add(&op{field: o.field, call: o.call},
				[]arg{dec(int32(s)), {val: uintptr(unsafe.Pointer(defaultAction))}, dec(0), dec(sigsetSize)})
		}
	}
	return nil
}

// An instance is one start's Program with its own copy of the steps.
type instance struct {
	prog  asm.Program
	steps []asm.Step
	ops   []*op

	command *command // in place of the loaded one, if not nil
	mem     memory   // its strings

	autoreap bool // the kernel reaps the child
}

// instances are reused: they come to about a kilobyte each.
var instances = sync.Pool{New: func() any { return new(instance) }}

// fill readies the instance for a start. report is the pipe for a child that shares
// no memory; -1 is none. low tells where the parent has put copies of the descriptors
// for Files, and what it holds for the spare numbers.
func (in *instance) fill(l *loaded, p *Plan, f *FeatureSet, links links, report int, low *lowCopies) {
	in.steps = append(in.steps[:0], l.steps...)
	in.ops = l.ops
	if p.command != nil || p.spares > 0 {
		in.mem.reset()
	}
	if in.command = p.command; in.command != nil {
		exec := &in.steps[len(in.steps)-1]
		exec.Args = [6]uintptr{in.mem.str(in.command.path), in.mem.strs(in.command.argv), in.mem.strs(in.command.env)}
	}
	prog := &in.prog
	*prog = asm.Program{
		Full:  ^uint64(0),
		Pidfd: -1,
		Steps: uintptr(unsafe.Pointer(unsafe.SliceData(in.steps))),
	}
	if l.asks {
		*(*unix.PollFd)(unsafe.Pointer(&prog.Words[wordPolls])) = unix.PollFd{Fd: int32(links.sync), Events: unix.POLLIN}
		*(*unix.PollFd)(unsafe.Pointer(&prog.Words[wordParent])) = unix.PollFd{Fd: int32(links.parent), Events: unix.POLLIN}
	}
	for _, x := range l.fixups {
		var v uintptr
		switch x.arg.kind {
		case argWord:
			v = uintptr(unsafe.Pointer(&prog.Words[x.arg.val]))
		case argInt32:
			v = uintptr(unsafe.Pointer(&prog.Words[x.arg.val])) + lowHalf
		case argMask:
			v = uintptr(unsafe.Pointer(&prog.Mask))
		case argSync:
			v = uintptr(links.sync)
		case argPeer:
			v = uintptr(links.peer)
		case argNext:
			v = uintptr(unsafe.Pointer(&in.steps[x.step+1].Args[0]))
		case argSource:
			v = uintptr(low.at(int(x.arg.val)))
		case argSpare:
			v = uintptr(low.spare(p, int(x.arg.val)))
		case argSparePath:
			v = in.mem.str("/proc/self/fd/" + itoa(low.spare(p, int(x.arg.val))))
		case argSpareRule:
			v = in.mem.bytes(x.arg.show.(pathRule).bytes(low.spare(p, int(x.arg.val))))
		case argNofile:
			if v = x.arg.val; !raisedNofile() { // and a sandbox may refuse to set none
				in.steps[x.step].Nr, in.steps[x.step].Flags = asm.Ignore, asm.Tolerate
			}
		case argTop:
			x.arg.val = uintptr(low.top(p))
			v = max(x.arg.val, uintptr(links.top()))
		}
		if x.word == outWord {
			in.steps[x.step].Out = v
		} else {
			in.steps[x.step].Args[x.word] = v
		}
	}
	if low != nil && low.spares != nil {
		in.keepStrictly()
	}
	mask, full := uintptr(unsafe.Pointer(&prog.Mask)), uintptr(unsafe.Pointer(&prog.Full))
	prog.Block = asm.Step{Nr: unix.SYS_RT_SIGPROCMASK, Args: [6]uintptr{unix.SIG_SETMASK, full, mask, sigsetSize}}
	prog.Restore = asm.Step{Nr: unix.SYS_RT_SIGPROCMASK, Args: [6]uintptr{unix.SIG_SETMASK, mask, 0, sigsetSize}}
	prog.Report = asm.Step{Nr: asm.Ignore}
	if report >= 0 {
		prog.Report = asm.Step{Nr: unix.SYS_WRITE,
			Args: [6]uintptr{uintptr(report), uintptr(unsafe.Pointer(&prog.Failed)), reportSize}}
	}
	pid, pidfd := uintptr(unsafe.Pointer(&prog.Pid)), uintptr(unsafe.Pointer(&prog.Pidfd))
	if f.Clone3 {
		prog.Clone = asm.CloneArgs{Flags: l.flags, Pidfd: uint64(pidfd), ParentTid: uint64(pid), Cgroup: uint64(p.cgroup)}
		prog.Create = asm.Step{Nr: unix.SYS_CLONE3,
			Args: [6]uintptr{uintptr(unsafe.Pointer(&prog.Clone)), unsafe.Sizeof(prog.Clone)}}
	} else {
		prog.Create = asm.Step{Nr: unix.SYS_CLONE, Args: [6]uintptr{uintptr(l.flags), 0, pid}}
	}
	if in.autoreap = l.bound != 0; !in.autoreap {
		in.setExitSignal(unix.SIGCHLD)
	}
}

// keepStrictly has a copy to a spare number fail the start: what the parent holds
// there must not be taken for the copy.
func (in *instance) keepStrictly() {
	for i, o := range in.ops {
		if o.kind == opKeep {
			in.steps[i].Flags &^= asm.Tolerate
		}
	}
}

// spawn runs the Program.
func (in *instance) spawn() uintptr {
	r := asm.Spawn(&in.prog)
	if !isErrno(r) {
		atomic.StoreInt32(&in.prog.Pid, int32(r)) // qemu-user stores it in the child alone
	}
	return r
}

// setExitSignal sets what the parent gets when the child ends.
func (in *instance) setExitSignal(s unix.Signal) {
	const csignal = 0xff // part of the flags, for clone
	in.prog.Clone.ExitSignal = uint64(s)
	if in.prog.Create.Nr == unix.SYS_CLONE {
		in.prog.Create.Args[0] = in.prog.Create.Args[0]&^csignal | uintptr(s)
	}
}
