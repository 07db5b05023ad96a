//go:build linux

package tests

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// schedulingKinds are those that ask for more than anyone may have, but have
// another UID: they come while the child is privileged.
var schedulingKinds = []spawnKind{
	{"Nice", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		return &vspawn.Attr{Nice: vspawn.Ptr(19)}, func(t *testing.T, s *state) { equal(t, "nice value", s.Scheduling.Nice, 19) }
	}},
	{"Nice below 0 and a UID", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SYS_NICE, "lower the nice value")
		return &vspawn.Attr{Nice: vspawn.Ptr(-7), UID: vspawn.Ptr(1000)}, func(t *testing.T, s *state) {
			equal(t, "nice value", s.Scheduling.Nice, -7)
		}
	}},
	{"IOPriority", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		return &vspawn.Attr{IOPriority: &vspawn.IOPriority{Class: 2, Level: 6}}, func(t *testing.T, s *state) {
			equal(t, "priority", s.Scheduling.IOPriority, 2<<13|6)
		}
	}},
	{"IOPriority of real time and a UID", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SYS_NICE, "have a real-time priority")
		return &vspawn.Attr{IOPriority: &vspawn.IOPriority{Class: 1, Level: 3}, UID: vspawn.Ptr(1000)},
			func(t *testing.T, s *state) {
				equal(t, "priority", s.Scheduling.IOPriority, 1<<13|3)
			}
	}},
	{"Scheduler", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		return &vspawn.Attr{Scheduler: &vspawn.Scheduler{Policy: unix.SCHED_BATCH}}, func(t *testing.T, s *state) {
			equal(t, "policy", s.Scheduling.Attr.Policy, unix.SCHED_BATCH)
			equal(t, "nice value", s.Scheduling.Nice, ownState().Scheduling.Nice)
		}
	}},
	{"Scheduler and Nice", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		attr := &vspawn.Attr{Scheduler: &vspawn.Scheduler{Policy: unix.SCHED_BATCH}, Nice: vspawn.Ptr(11)}
		return attr, func(t *testing.T, s *state) {
			equal(t, "policy", s.Scheduling.Attr.Policy, unix.SCHED_BATCH)
			equal(t, "nice value", s.Scheduling.Nice, 11)
		}
	}},
	{"Scheduler of a priority and a UID", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SYS_NICE, "have a real-time policy")
		attr := &vspawn.Attr{
			Scheduler: &vspawn.Scheduler{Policy: unix.SCHED_FIFO, Priority: 5, Flags: unix.SCHED_FLAG_RESET_ON_FORK},
			UID:       vspawn.Ptr(1000),
		}
		return attr, func(t *testing.T, s *state) {
			a := s.Scheduling.Attr
			equal(t, "policy, priority, flags", [3]int{int(a.Policy), int(a.Priority), int(a.Flags)},
				[3]int{unix.SCHED_FIFO, 5, unix.SCHED_FLAG_RESET_ON_FORK})
		}
	}},
	{"Scheduler of deadlines", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SYS_NICE, "have deadlines")
		// Little time, as that of a child which has ended is taken for a while.
		attr := &vspawn.Attr{Scheduler: &vspawn.Scheduler{Policy: unix.SCHED_DEADLINE, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
			Runtime: 5 * time.Millisecond, Deadline: 90 * time.Millisecond, Period: 100 * time.Millisecond}}
		return attr, func(t *testing.T, s *state) {
			a := s.Scheduling.Attr
			equal(t, "policy, flags, runtime, deadline, period", [5]uint64{uint64(a.Policy), a.Flags, a.Runtime, a.Deadline, a.Period},
				[5]uint64{unix.SCHED_DEADLINE, unix.SCHED_FLAG_RESET_ON_FORK, 5e6, 90e6, 100e6})
		}
	}},
	{"Affinity", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		last, want := -1, unix.CPUSet{}
		own := ownState().Scheduling.Affinity
		for cpu := range 1024 {
			if own.IsSet(cpu) {
				last = cpu
			}
		}
		want.Set(last)
		return &vspawn.Attr{Affinity: []int{last}}, func(t *testing.T, s *state) { equal(t, "CPUs", s.Scheduling.Affinity, want) }
	}},
	{"CoreSched", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCoreSched(t)
		return &vspawn.Attr{CoreSched: true}, func(t *testing.T, s *state) {
			if s.Scheduling.Cookie == 0 || s.Scheduling.Cookie == ownState().Scheduling.Cookie {
				t.Errorf("the child's cookie is %#x, the parent's %#x", s.Scheduling.Cookie, ownState().Scheduling.Cookie)
			}
		}
	}},
	{"TimerSlack", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		return &vspawn.Attr{TimerSlack: 123 * time.Microsecond}, func(t *testing.T, s *state) {
			equal(t, "slack", s.Scheduling.TimerSlack, 123_000)
		}
	}},
	{"OOMScoreAdj", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		return &vspawn.Attr{OOMScoreAdj: vspawn.Ptr(1000)}, func(t *testing.T, s *state) { equal(t, "adjustment", s.OOMScoreAdj, "1000") }
	}},
	{"OOMScoreAdj below 0 and a UID", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		needCapability(t, unix.CAP_SYS_RESOURCE, "lower it")
		return &vspawn.Attr{OOMScoreAdj: vspawn.Ptr(-321), UID: vspawn.Ptr(1000)}, func(t *testing.T, s *state) {
			equal(t, "adjustment", s.OOMScoreAdj, "-321")
		}
	}},
	{"Personality", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		const shortInode = 0x1000000 // which changes nothing
		return &vspawn.Attr{Personality: vspawn.Ptr[uintptr](shortInode)}, func(t *testing.T, s *state) {
			equal(t, "personality", s.Personality&^addrNoRandomize, shortInode)
		}
	}},
	{"NewKeyring", func(t *testing.T) (*vspawn.Attr, func(*testing.T, *state)) {
		own, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
		if err == unix.ENOSYS {
			t.Skip("the kernel has no keys")
		}
		return &vspawn.Attr{NewKeyring: true}, func(t *testing.T, s *state) {
			if s.Keyring <= 0 || s.Keyring == own {
				t.Errorf("the child's keyring is %d, the parent's %d", s.Keyring, own)
			}
		}
	}},
}

// The child has the nice value that its parent's thread has when it is started,
// also beside a policy, of whose call it is a part.
func TestSchedulerKeepsNice(t *testing.T) {
	puppet := tiny.New(t)
	defer puppet.Close()
	argv := tiny.Argv(t)
	attr := &vspawn.Attr{Scheduler: &vspawn.Scheduler{Policy: unix.SCHED_BATCH}}
	plan, err := vspawn.Compile(argv[0], argv, withFile(attr, tiny.FD, puppet.Child))
	if err != nil {
		t.Fatal(err)
	}
	const want = 19 // which anyone may have
	var p *vspawn.Process
	onThreadOfItsOwn(func() {
		if err = unix.Setpriority(unix.PRIO_PROCESS, 0, want); err == nil {
			p, err = plan.Start(t.Context())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var s state
	s.read(puppet.Do)
	equal(t, "nice value", s.Scheduling.Nice, want)
	puppet.Close()
	wait(t, p, "exit status 0")
}

// addrNoRandomize is a personality that the race detector takes for itself.
const addrNoRandomize = 0x40000

func needCoreSched(t *testing.T) {
	t.Helper()
	switch _, err := coreCookie(); err {
	case nil:
	case unix.ENODEV:
		t.Skip("no core here has more than one thread")
	default:
		t.Skip("the kernel has no CONFIG_SCHED_CORE (Linux 5.14): ", err)
	}
}

// Where a core can't be had alone, the start fails, and says so.
func TestNoCoreSched(t *testing.T) {
	_, missing := coreCookie()
	if missing == nil {
		t.Skip("a core can be had alone")
	}
	helper.SkipEmulated(t, "PR_SCHED_CORE")
	_, err := vspawn.Start(t.Context(), "/x", nil, &vspawn.Attr{CoreSched: true})
	checkError(t, err, vspawn.Error{Step: "prctl", Field: "CoreSched", Err: missing})
}
