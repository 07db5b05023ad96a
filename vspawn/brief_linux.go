package vspawn

import (
	"math/bits"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A wait begins in waitid, on this goroutine's own thread: the kernel wakes who waits
// there with the hint that the one who wakes him is about to sleep, so that the parent
// goes on where the child has ended, while a poll of the pidfd is woken without, on
// another processor, that has to be brought to life first (kernel/exit.c,
// child_wait_callback; kernel/pid.c, do_notify_pidfd). That makes a fifth of a short
// child's whole time.
//
// But waitid has no time limit. A thread is taken back from it by its pidfd: one with
// O_NONBLOCK does not wait (Linux 5.10), and a signal has the call begin again, by
// SA_RESTART, which then sees the flag. The signal is SIGURG, which Go's runtime sends
// to its threads all the time.

// maxBrief is how many threads are in brief at a time, at most, and briefTime for how
// long, or up to twice that.
const (
	maxBrief  = 4
	briefTime = time.Millisecond
)

// A briefWait is a thread in brief. All but info is under the Process's mu.
type briefWait struct {
	p        *Process
	tid      int
	pidfd    int
	info     siginfo
	recalled bool // the pidfd does not block
	owns     bool // the pidfd, which the Process has given up

	heeds chan os.Signal // for SIGURG, if it was ignored: nothing is read from it
}

// brief waits for a child that ends soon, and tells whether this one has. It holds a
// thread, for two milliseconds at most, and spares such a child's parent the way by the
// poller, which takes longer than the child.
func (p *Process) brief() bool {
	p.mu.Lock()
	recallable := p.recallable
	p.mu.Unlock()
	if !recallable || !briefs.able() {
		return p.briefPoll()
	}
	w := &briefWait{p: p}
	slot := briefs.take(w)
	if slot == nil {
		return false
	}
	defer slot.Store(nil)
	runtime.LockOSThread() // whose number the others have
	defer runtime.UnlockOSThread()
	if !w.begin() {
		return false
	}
	defer w.end()
	err := ignoringEINTR(func() error { return waitid(unix.P_PIDFD, w.pidfd, &w.info, unix.WEXITED|unix.WNOWAIT, nil) })
	return err == nil && w.info.over() // or it is traced by us, and has stopped
}

// begin has the thread be one that can be taken back.
func (w *briefWait) begin() bool {
	if blocked(unix.SIGURG) {
		return false
	}
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended != nil || p.pidfd < 0 || p.briefly != nil || !p.recallable {
		return false
	}
	w.tid, w.pidfd, p.briefly = unix.Gettid(), p.pidfd, w
	return true
}

// end is called when the thread is back.
func (w *briefWait) end() {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.p.briefly = nil
	if w.recalled {
		setNonblock(w.pidfd, false) // for who gets it by Pidfd
	}
	if w.owns {
		unix.Close(w.pidfd)
	}
	if w.heeds != nil {
		signal.Stop(w.heeds)
		signal.Ignore(unix.SIGURG)
	}
}

// recall has the thread come back, whether it is in waitid already or not yet. The caller
// holds the Process's mu.
func (w *briefWait) recall() {
	if setNonblock(w.pidfd, true) {
		w.recalled = true
	}
	i := slices.IndexFunc(recallSignals, handled)
	if i < 0 && w.heeds == nil { // the program ignores all signals since
		w.heeds = make(chan os.Signal, 1)
		signal.Notify(w.heeds, unix.SIGURG)
	}
	unix.Tgkill(unix.Getpid(), w.tid, recallSignals[max(i, 0)])
}

// recallSignals are those by which a thread is taken back: Go's handlers do nothing for
// them. A program may ignore the first while a thread waits already, and what it asks to be
// told of it must not mind to hear for nothing.
var recallSignals = []unix.Signal{unix.SIGURG, unix.SIGCHLD, unix.SIGWINCH}

// noBrief has no thread be in brief, now or later. The caller holds mu, which is given up
// meanwhile.
func (p *Process) noBrief() {
	p.recallable = false
	const often = 100 // more would give the thread no time to come back in
	for turn := 0; p.briefly != nil; turn++ {
		if turn%often == 0 {
			p.briefly.recall()
		}
		p.mu.Unlock()
		runtime.Gosched()
		p.mu.Lock()
	}
}

// own gives it the pidfd, which it closes when it is back: until then the number must
// not become another's, for whom it would wait. The caller holds the Process's mu.
func (w *briefWait) own() {
	w.owns = true
	w.recall()
}

// setNonblock sets O_NONBLOCK, or not, and tells whether it was different.
func setNonblock(fd int, on bool) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 == on {
		return false
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags^unix.O_NONBLOCK)
	return err == nil
}

// tryRecall tries whether a thread could be taken back from a wait for a child by its
// pidfd. That a pidfd heeds O_NONBLOCK only its version tells: it would take a wait that
// may not end.
func tryRecall(pidfd int) bool {
	return releaseAtLeast(5, 10) && unix.Tgkill(unix.Getpid(), unix.Gettid(), 0) == nil && setNonblock(pidfd, true)
}

// briefs are the threads in brief.
var briefs briefSet

type briefSet struct {
	slots [maxBrief]atomic.Pointer[briefWait]
	awake atomic.Bool // the timer is set

	mu    sync.Mutex
	timer *time.Timer
	seen  [maxBrief]*briefWait // by the last look
	idle  int                  // looks that have seen nobody
}

// able tells whether a thread could be taken back, and others would run while it waits:
// the runtime takes the processor away from one that is in the kernel after up to 20 ms.
func (b *briefSet) able() bool {
	return b.most() > 0 && !signal.Ignored(unix.SIGURG) && (b.awake.Load() || b.wake())
}

// most is how many threads may be in brief. One processor is left to the others.
func (b *briefSet) most() int { return min(runtime.GOMAXPROCS(0)-1, len(b.slots)) }

// take gives w a place. It is nil if there is none, or nobody would look after it.
func (b *briefSet) take(w *briefWait) *atomic.Pointer[briefWait] {
	for i := range b.most() {
		slot := &b.slots[i]
		if !slot.CompareAndSwap(nil, w) {
			continue
		}
		if b.awake.Load() || b.wake() {
			return slot
		}
		slot.Store(nil)
		break
	}
	return nil
}

// wake sets the timer.
func (b *briefSet) wake() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.awake.Load():
	case !handled(unix.SIGURG), !timersAreSafe():
		return false
	case b.timer != nil:
		b.timer.Reset(briefTime)
	default:
		b.timer = time.AfterFunc(briefTime, b.look)
	}
	b.awake.Store(true)
	return true
}

// handled tells whether a signal has a handler.
func handled(s unix.Signal) bool {
	handler, errno := disposition(s)
	return errno == 0 && handler != sigDfl && handler != sigIgn
}

// blocked tells whether this thread's mask blocks a signal, or can't be read.
func blocked(s unix.Signal) bool {
	var set unix.Sigset_t
	n := int(s) - 1
	err := unix.PthreadSigmask(unix.SIG_BLOCK, nil, &set)
	return err != nil || set.Val[n/bits.UintSize]&(1<<(n%bits.UintSize)) != 0
}

// look recalls those who were there at the last look. It goes on for a while when
// there is nobody: to set a timer may take the waking of a thread.
func (b *briefSet) look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle++
	for i := range b.slots {
		w := b.slots[i].Load()
		if w != nil {
			b.idle = 0
			if w == b.seen[i] {
				w.late()
			}
		}
		b.seen[i] = w
	}
	const patience = 10
	if b.idle < patience {
		b.timer.Reset(briefTime)
		return
	}
	b.idle = 0
	b.awake.Store(false)
	for i := range b.slots { // one who came in between has seen us awake
		if b.slots[i].Load() != nil && !b.awake.Swap(true) {
			b.timer.Reset(briefTime)
		}
	}
}

// late recalls one that has been there for long. If its Process is busy, which may take a
// while (KillTree), the next look does: the others are not to wait for that.
func (w *briefWait) late() {
	if !w.p.mu.TryLock() {
		return
	}
	defer w.p.mu.Unlock()
	if w.p.briefly == w {
		w.recall()
	}
}

// briefPoll is brief where a thread can't be taken back from waitid: it waits for a
// millisecond, and one does so at a time.
func (p *Process) briefPoll() bool {
	if !polling.CompareAndSwap(false, true) {
		return false
	}
	defer polling.Store(false)
	p.mu.Lock()
	fd := p.pidfd
	if p.ended != nil || fd < 0 {
		p.mu.Unlock()
		return false
	}
	p.mu.Unlock()
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: p.endEvents()}}, 1)
	return n == 1
}

// polling is taken by the one goroutine that is in briefPoll.
var polling atomic.Bool
