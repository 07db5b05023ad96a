package vspawn

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

func addScheduler(c *compiler) error {
	s := c.attr.Scheduler
	if s == nil {
		return nil
	}
	switch {
	case !kernelInt(s.Policy):
		return refuse("Scheduler", "%d is not a policy", s.Policy)
	case s.Priority < 0 || s.Priority > 99:
		return refuse("Scheduler", "priority %d is not from 0 to 99", s.Priority)
	case s.Policy == unix.SCHED_DEADLINE && !(0 < s.Runtime && s.Runtime <= s.Deadline && s.Deadline <= s.Period):
		return refuse("Scheduler", "want 0 < Runtime %v <= Deadline %v <= Period %v", s.Runtime, s.Deadline, s.Period)
	case s.Policy != unix.SCHED_DEADLINE && (s.Runtime != 0 || s.Deadline != 0 || s.Period != 0):
		return refuse("Scheduler", "Runtime, Deadline and Period are for SCHED_DEADLINE alone")
	}
	c.op(op{kind: opScheduler, field: "Scheduler", call: sysSchedSetattr, args: []arg{dec(0), {show: *s}, dec(0)}})
	return nil
}

// bytes is the struct sched_attr.
func (s Scheduler) bytes(nice int) []byte {
	const size = 48 // SCHED_ATTR_SIZE_VER0
	b := native.AppendUint32(nil, size)
	b = native.AppendUint32(b, uint32(s.Policy))
	b = native.AppendUint64(b, s.Flags)
	b = native.AppendUint32(b, uint32(int32(nice)))
	b = native.AppendUint32(b, uint32(s.Priority))
	for _, d := range []time.Duration{s.Runtime, s.Deadline, s.Period} {
		b = native.AppendUint64(b, uint64(d))
	}
	return b
}

// schedule adds the call, which sets the nice value too: to what the child would
// inherit from this thread.
func (l *loaded) schedule(o *op) error {
	n, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return refused("getpriority", o.field, "", err)
	}
	s := &withNice{Scheduler: o.args[1].show.(Scheduler)}
	own := *o
	own.args = []arg{o.args[0], {val: s.mem.bytes(s.bytes(20 - n)), show: s}, o.args[2]}
	l.add(&own, own.args)
	return nil
}

// withNice keeps what the kernel reads.
type withNice struct {
	Scheduler
	mem memory
}

func (s *withNice) String() string { return fmt.Sprint(s.Scheduler) }

func addNice(c *compiler) error {
	n := c.attr.Nice
	if n == nil {
		return nil
	}
	if *n < -20 || *n > 19 {
		return refuse("Nice", "%d is not from -20 to 19", *n)
	}
	c.op(op{field: "Nice", call: sysSetpriority, object: *n,
		args: []arg{name("PRIO_PROCESS", unix.PRIO_PROCESS), dec(0), signed(int32(*n))}})
	return nil
}

func addIOPriority(c *compiler) error {
	p := c.attr.IOPriority
	if p == nil {
		return nil
	}
	if p.Class < 0 || p.Class > 3 || p.Level < 0 || p.Level > 7 {
		return refuse("IOPriority", "class %d, level %d: want 0 to 3, and 0 to 7", p.Class, p.Level)
	}
	const whoProcess, classShift = 1, 13 // include/uapi/linux/ioprio.h
	c.op(op{field: "IOPriority", call: sysIoprioSet, object: *p,
		args: []arg{name("IOPRIO_WHO_PROCESS", whoProcess), dec(0), dec(int32(p.Class<<classShift | p.Level))}})
	return nil
}

func addAffinity(c *compiler) error {
	list := c.attr.Affinity
	if list == nil {
		return nil
	}
	const maxCPU = 8192
	var mask []uint64
	for i, cpu := range list {
		if cpu < 0 || cpu >= maxCPU {
			return refuse(index("Affinity", i), "%d is not a CPU", cpu)
		}
		for len(mask) <= cpu/64 {
			mask = append(mask, 0)
		}
		mask[cpu/64] |= 1 << (cpu % 64)
	}
	if mask == nil {
		return refuse("Affinity", "empty: the child could run nowhere")
	}
	c.op(op{field: "Affinity", call: sysSchedSetaffinity, object: list,
		args: []arg{dec(0), size(8 * len(mask)), {val: c.mem.words64(mask), show: list}}})
	return nil
}

func addCoreSched(c *compiler) error {
	if c.attr.CoreSched {
		c.prctl("CoreSched", name("PR_SCHED_CORE", unix.PR_SCHED_CORE), name("PR_SCHED_CORE_CREATE", unix.PR_SCHED_CORE_CREATE), dec(0),
			name("PR_SCHED_CORE_SCOPE_THREAD_GROUP", unix.PR_SCHED_CORE_SCOPE_THREAD_GROUP))
	}
	return nil
}

func addTimerSlack(c *compiler) error {
	d := c.attr.TimerSlack
	switch {
	case d < 0:
		return refuse("TimerSlack", "%v is negative", d)
	case uint64(d) > uint64(^uintptr(0)):
		return refuse("TimerSlack", "%v is more nanoseconds than the kernel's long takes", d)
	}
	if d > 0 {
		c.prctl("TimerSlack", name("PR_SET_TIMERSLACK", unix.PR_SET_TIMERSLACK), arg{val: uintptr(d)})
	}
	return nil
}

func addPersonality(c *compiler) error {
	if p := c.attr.Personality; p != nil {
		if uint64(*p) >= math.MaxUint32 { // which asks for the present one
			return refuse("Personality", "%#x is not an execution domain", *p)
		}
		c.op(op{field: "Personality", call: sysPersonality, args: []arg{name(hex(*p), *p)}})
	}
	return nil
}

func addKeyring(c *compiler) error {
	if c.attr.NewKeyring {
		c.op(op{field: "NewKeyring", call: sysKeyctl,
			args: []arg{name("KEYCTL_JOIN_SESSION_KEYRING", unix.KEYCTL_JOIN_SESSION_KEYRING), name("NULL", 0)}})
	}
	return nil
}

func (c *compiler) prctl(field string, args ...arg) {
	for len(args) < 5 { // some options refuse what is not zero there
		args = append(args, dec(0))
	}
	c.op(op{field: field, call: sysPrctl, args: args})
}
