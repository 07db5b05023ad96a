//go:build linux

package tests

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/faults"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// faultErrnos are what the calls fail with: for want of something, for a signal, and
// for a sandbox.
var faultErrnos = []unix.Errno{unix.EAGAIN, unix.EMFILE, unix.ENOMEM, unix.EINTR, unix.EPERM}

// Whichever system call of a start fails, the parent's or the child's, the first start
// of a process or a later one: there is an error that says what failed and why, or the
// child is as it would be without. The next start is whole again, and nothing is left.
//
// What calls there are a supervisor finds, which holds each of them (package faults).
// Of everything that can fail a part is tried, chosen by a hash of VSPAWN_FAULTS and the
// names; or all, by VSPAWN_FAULTS=all.
func TestFaults(t *testing.T) {
	faultyHelper.Argv() // also where this is skipped
	once(t)
	needSupervisor(t)
	if !closesByCloseRange() {
		t.Run("fcntl of the child", func(t *testing.T) {
			t.Skip("before Linux 5.11 descriptors are closed by it, and the parent looks for a filter, which holds for both")
		})
	}
	var sum faultCount
	all := 0
	for _, sc := range faultScenarios {
		t.Run(sc.name, func(t *testing.T) {
			setting := faultSetting{Scenario: sc.name, Argv: tiny.Argv(t), Dir: realTemp(t)}
			if sc.setUp != nil {
				sc.setUp(t, &setting)
			}
			f := startFaulty(t, &setting)
			first := f.clean(t)
			later := f.clean(t)
			for range 2 {
				later.calls = common(later.calls, f.clean(t).calls)
			}
			left := f.norm(t)
			list, of := someFaults(sc.name+"/later", later.calls, laterShare, sc.reads)
			all += of
			t.Run("later", func(t *testing.T) { laterFaults(t, f, list, later.state, left) })
			list, of = someFaults(sc.name+"/first", first.calls, firstShare, false)
			all += of
			t.Run("first", func(t *testing.T) { firstFaults(t, &setting, list, first.state, left) })
			sum.add(&setting.count)
		})
	}
	t.Logf("%d of %d faults, by VSPAWN_FAULTS=%q; all of them by VSPAWN_FAULTS=all; %d calls were there to fail, and %d of %d reads",
		sum.tried+sum.readsTried, all, os.Getenv("VSPAWN_FAULTS"), sum.hits, sum.readHits, sum.readsTried)
	if sum.tried == 0 || sum.hits < sum.tried*3/4 || sum.readHits < sum.readsTried/2 {
		t.Errorf("of %d faults %d happened, and of %d of reads %d", sum.tried, sum.hits, sum.readsTried, sum.readHits)
	}
}

// A faultCount is how many faults were tried, and how many of the calls there were.
// The parent reads a child's state again until it stands still, which takes more calls on
// a machine that is busy: so those are counted by themselves.
type faultCount struct{ tried, hits, readsTried, readHits int }

func (c *faultCount) add(d *faultCount) {
	c.tried, c.hits = c.tried+d.tried, c.hits+d.hits
	c.readsTried, c.readHits = c.readsTried+d.readsTried, c.readHits+d.readHits
}

// of counts one.
func (c *faultCount) of(call faults.Call, hit bool) {
	d := faultCount{tried: 1}
	if hit {
		d.hits = 1
	}
	if call.Nr == unix.SYS_READ && !call.Child {
		d = faultCount{readsTried: 1, readHits: d.hits}
	}
	c.add(&d)
}

// common are the calls of a that b has, too: those of one start alone will hardly come
// again.
func common(a, b []faults.Call) []faults.Call {
	return slices.DeleteFunc(slices.Clone(a), func(c faults.Call) bool { return !slices.Contains(b, c) })
}

// needSupervisor skips where one process can't answer for another's calls.
func needSupervisor(t *testing.T) {
	t.Helper()
	helper.SkipEmulated(t, "seccomp")
	if !newEnough(5, 7) {
		t.Skip("no SECCOMP_FILTER_FLAG_TSYNC_ESRCH, which a listener for all threads takes (Linux 5.7)")
	}
	var action uint32 = unix.SECCOMP_RET_USER_NOTIF
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, pin(t, &action)); errno != 0 {
		t.Skip("the kernel has no SECCOMP_RET_USER_NOTIF (CONFIG_SECCOMP_FILTER): ", errno)
	}
}

// firstFaults makes calls of a process's first start fail.
func firstFaults(t *testing.T, setting *faultSetting, list []faults.Fault, want *state, left faultLeft) {
	for _, fault := range list {
		t.Run(fault.String(), func(t *testing.T) {
			f := startFaulty(t, setting)
			f.try(t, fault, want, left)
		})
	}
}

// laterFaults makes calls of later ones fail.
func laterFaults(t *testing.T, f *faulty, list []faults.Fault, want *state, left faultLeft) {
	for i, fault := range list {
		ok := t.Run(fault.String(), func(t *testing.T) { f.try(t, fault, want, left) })
		again := !ok || fault.Nr == unix.SYS_PRCTL && !fault.Child // the dumpable flag stays off
		if again && i < len(list)-1 {
			f.end(t)
			f = startFaulty(t, f.setting)
			f.clean(t)
		}
	}
}

// A share is how much is tried where VSPAWN_FAULTS is not all: of a scenario's faults so
// many here, and so many in a guest, there only for one scenario of every.
type share struct{ here, guest, every int }

// A first start takes a process of its own, which is dear in a guest.
var (
	firstShare = share{here: 4, guest: 1, every: 4}
	laterShare = share{here: 12, guest: 2, every: 1}
)

// someFaults are those that are to be tried of all that the calls can have, chosen by
// a hash of name and fault, with or without those of all reads, and how many there are in
// all.
func someFaults(name string, calls []faults.Call, s share, reads bool) (list []faults.Fault, all int) {
	for _, c := range calls {
		if c.Child && c.Nr == unix.SYS_FCNTL && !closesByCloseRange() {
			continue
		}
		for _, errno := range faultErrnos {
			list = append(list, faults.Fault{Call: c, Errno: errno})
		}
	}
	seed := os.Getenv("VSPAWN_FAULTS")
	if seed == "all" {
		return list, len(list)
	}
	hash := func(of ...any) uint64 {
		h := fnv.New64a()
		fmt.Fprint(h, append([]any{seed, name}, of...)...)
		return h.Sum64()
	}
	n := s.here
	if os.Getenv("VSPAWN_TARGET") != "" {
		if n = s.guest; hash()%uint64(s.every) != 0 {
			n = 0
		}
	}
	all = len(list)
	slices.SortFunc(list, func(a, b faults.Fault) int { return cmp.Compare(hash(a), hash(b)) })
	place := 0
	return slices.DeleteFunc(list, func(f faults.Fault) bool {
		place++
		return place > n && !(reads && f.Nr == unix.SYS_READ && !f.Child)
	}), all
}

// closesByCloseRange tells whether a child need not close descriptors one by one.
func closesByCloseRange() bool { return newEnough(5, 11) }

// checkFaultError checks that an error says what has failed and why.
func checkFaultError(t *testing.T, err *faultError, fault faults.Fault) {
	t.Helper()
	name := fault.Name()
	switch {
	case fault.Nr == unix.SYS_IOCTL && !fault.Child:
		// Of a file that is no namespace the kernel answers an error, and never else: so
		// it is taken for that.
	case !err.Is || err.Step == "":
		t.Errorf("the error is no *vspawn.Error with a step: %s", err)
	case fault.Child && name == "dup3" && err.Errno == int(unix.EBADF) && err.Hint:
		// The copy to a spare number may fail, since it is there already: its use tells.
	case err.Errno != int(fault.Errno):
		t.Errorf("the error does not say %s: %s", unix.ErrnoName(fault.Errno), err)
	case fault.Child && err.Step != name && fault.Nr != unix.SYS_EXIT_GROUP:
		t.Errorf("the error's step is not %s: %s", name, err)
	}
}
