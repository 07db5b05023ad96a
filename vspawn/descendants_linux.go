package vspawn

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// A tree is processes that are to be killed, as far as they are found. Once the signal of a
// stop is sent, none of a process's threads makes another process: the kernel looks for
// signals when it adds one (kernel/fork.c, copy_process). So when nothing new is found
// behind that, there is none.
type tree struct {
	root   int                   // the child
	rootFD int                   // its pidfd, which is the Process's, or -1
	list   func() ([]int, error) // what may belong to it
	has    func(pid int) bool    // what does
	found  map[int]*member
	err    error // the first
	hit    bool  // one of them was there to be killed
}

// A member is one of the processes. The number is its own as long as it is not reaped.
type member struct {
	pid, pidfd int
	killed     bool
}

// released tells whether the process behind a pidfd has been reaped.
func released(pidfd int) bool { return unix.PidfdSendSignal(pidfd, 0, nil, 0) == unix.ESRCH }

func (p *Process) tree() *tree { return &tree{root: p.pid, rootFD: -1, found: map[int]*member{}} }

// maxRounds is when to give up on a tree that grows.
const maxRounds = 100

// kill kills them. It gives up on those that start others as fast as they are found.
func (t *tree) kill() error {
	defer t.close()
	for range maxRounds {
		if !t.grow() && !t.killFound() {
			return t.err
		}
	}
	t.killFound()
	return &Error{Step: "kill", Object: "the tree of pid " + itoa(t.root), Err: unix.EAGAIN,
		Hint: "it grows faster than it is found: what is started with a Cgroup of its own, or with CLONE_NEWPID, is killed at once"}
}

// grow finds and stops what was not found before.
func (t *tree) grow() (more bool) {
	list, err := t.list()
	if err != nil {
		t.fail(err)
	}
	for _, pid := range list {
		more = t.take(pid) || more
	}
	return more
}

// take adds a process if it belongs to the tree. That is looked at when there is a pidfd
// of it, so that the number can be no other's.
func (t *tree) take(pid int) bool {
	if m := t.found[pid]; m != nil {
		if !released(m.pidfd) {
			return false
		}
		t.drop(m)
		delete(t.found, pid)
	}
	if !t.has(pid) { // which most do not, and that is cheaper
		return false
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if err != unix.ESRCH && err != unix.EINVAL {
			t.failOf("pidfd_open", pid, err)
		}
		return false
	}
	if !t.has(pid) || released(fd) {
		unix.Close(fd)
		return false
	}
	t.add(pid, fd)
	return true
}

// add adds a process, with its pidfd.
func (t *tree) add(pid, pidfd int) {
	t.found[pid] = &member{pid: pid, pidfd: pidfd}
	unix.PidfdSendSignal(pidfd, unix.SIGSTOP, nil, 0)
}

// killFound kills what was found since the last time, if there is any.
func (t *tree) killFound() (any bool) {
	for _, m := range t.found {
		if m.killed {
			continue
		}
		any, m.killed = true, true
		switch err := unix.PidfdSendSignal(m.pidfd, unix.SIGKILL, nil, 0); err {
		case nil:
			t.hit = true
		case unix.ESRCH:
		default:
			t.failOf("kill", m.pid, err)
		}
	}
	return any
}

// fail notes why some may have been passed over.
func (t *tree) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *tree) failOf(step string, pid int, err error) {
	t.fail(&Error{Step: step, Object: "pid " + itoa(pid) + ", of the tree of pid " + itoa(t.root), Err: err})
}

func (t *tree) drop(m *member) {
	if m.pidfd != t.rootFD {
		unix.Close(m.pidfd)
	}
}

func (t *tree) close() {
	for _, m := range t.found {
		t.drop(m)
	}
}

// processes are all that /proc shows, parents mostly before their children.
func (t *tree) processes() (pids []int, err error) {
	fail := func(step string, err error) ([]int, error) {
		return nil, &Error{Step: step, Object: "/proc, for the tree of pid " + itoa(t.root), Err: errors.Unwrap(err)}
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return fail("open", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fail("read", err)
	}
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// descends tells whether a process is the child of one in the tree, or of the session that
// the child leads. Both numbers are what they say if those who have them are not reaped
// when they have been read.
func (t *tree) descends(pid int) bool {
	s, err := readStat(pid)
	if err != nil {
		if shortage(err) { // else it has ended, or /proc does not show it
			t.failOf("open /proc/PID/stat", pid, errors.Unwrap(err))
		}
		return false
	}
	held := func(pid int) bool { m := t.found[pid]; return m != nil && !released(m.pidfd) }
	return held(s.parent) || s.session == t.root && held(t.root)
}

// readNumbers reads a file of numbers, a line each.
func readNumbers(r io.Reader) (numbers []int, err error) {
	text, err := io.ReadAll(r)
	for _, line := range bytes.Fields(text) {
		if n, err := strconv.Atoi(string(line)); err == nil && n > 0 { // 0 is one of another PID namespace
			numbers = append(numbers, n)
		}
	}
	return numbers, err
}
