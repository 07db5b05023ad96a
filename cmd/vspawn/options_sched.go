//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

func setRlimit(r *request, value string) error {
	name, limits, ok := strings.Cut(value, "=")
	if !ok {
		return errors.New("want NAME=SOFT[:HARD]")
	}
	resource, ok := resources[strings.ToLower(name)]
	if !ok {
		return fmt.Errorf("%q is not a resource", name)
	}
	soft, hard, both := strings.Cut(limits, ":")
	if !both {
		hard = soft
	}
	l := vspawn.Rlimit{Resource: resource}
	var err error
	if l.Soft, err = parseLimit(soft); err != nil {
		return err
	}
	if l.Hard, err = parseLimit(hard); err != nil {
		return err
	}
	r.attr.Rlimits = append(r.attr.Rlimits, l)
	return nil
}

// resources are the names of getrlimit(2), without their prefix.
var resources = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
	"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
	"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// parseLimit takes a number with K, M or G behind it, powers of 1024, or
// "unlimited".
func parseLimit(s string) (uint64, error) {
	const unlimited = ^uint64(0)
	if s == "unlimited" {
		return unlimited, nil
	}
	digits, shift := s, 0
	if i := len(s) - 1; i > 0 {
		if unit := strings.IndexByte("KMG", s[i]&^0x20); unit >= 0 {
			digits, shift = s[:i], 10*(unit+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q: %w", s, cause(err))
	}
	if n > unlimited>>shift {
		return 0, fmt.Errorf("%q: %w", s, strconv.ErrRange)
	}
	return n << shift, nil
}

func setIOPriority(r *request, value string) error {
	name, level, given := strings.Cut(value, ":")
	p := vspawn.IOPriority{}
	switch name {
	case "none":
	case "realtime":
		p.Class, p.Level = vspawn.IOPRIO_CLASS_RT, 4
	case "best-effort":
		p.Class, p.Level = vspawn.IOPRIO_CLASS_BE, 4
	case "idle":
		p.Class = vspawn.IOPRIO_CLASS_IDLE
	default:
		return fmt.Errorf("%q is not a class", name)
	}
	if given {
		var err error
		if p.Level, err = strconv.Atoi(level); err != nil {
			return fmt.Errorf("%q: %w", level, cause(err))
		}
		if p.Class != vspawn.IOPRIO_CLASS_RT && p.Class != vspawn.IOPRIO_CLASS_BE {
			return fmt.Errorf("%s has no levels", name)
		}
	}
	r.attr.IOPriority = &p
	return nil
}

func setScheduler(r *request, value string) error {
	parts := strings.Split(value, ":")
	policy, ok := policies[parts[0]]
	if !ok {
		return fmt.Errorf("%q is not a policy", parts[0])
	}
	s := r.scheduler()
	*s = vspawn.Scheduler{Policy: policy, Flags: s.Flags}
	switch policy {
	case unix.SCHED_DEADLINE:
		times := []*time.Duration{&s.Runtime, &s.Deadline, &s.Period}
		if len(parts) != 1+len(times) {
			return errors.New("want deadline:RUNTIME:DEADLINE:PERIOD")
		}
		for i, t := range times {
			var err error
			if *t, err = parseDuration(parts[i+1]); err != nil {
				return err
			}
		}
	case unix.SCHED_FIFO, unix.SCHED_RR:
		if len(parts) != 2 {
			return fmt.Errorf("want %s:PRIORITY", parts[0])
		}
		n, err := strconv.Atoi(parts[1])
		if err != nil {
			return fmt.Errorf("%q: %w", parts[1], cause(err))
		}
		if n < 1 || n > 99 {
			return fmt.Errorf("priority %d is not from 1 to 99", n)
		}
		s.Priority = n
	default:
		if len(parts) != 1 {
			return fmt.Errorf("%s has no parameters", parts[0])
		}
	}
	return nil
}

// policies are chrt's names.
var policies = map[string]int{
	"other": unix.SCHED_NORMAL, "batch": unix.SCHED_BATCH, "idle": unix.SCHED_IDLE, "fifo": unix.SCHED_FIFO,
	"rr": unix.SCHED_RR, "deadline": unix.SCHED_DEADLINE, "ext": unix.SCHED_EXT,
}

func setResetOnFork(r *request, value string) error {
	on, err := strconv.ParseBool(value)
	if err != nil {
		return errors.New("neither true nor false")
	}
	s := r.scheduler()
	s.Flags &^= unix.SCHED_FLAG_RESET_ON_FORK
	if on {
		s.Flags |= unix.SCHED_FLAG_RESET_ON_FORK
	}
	return nil
}

func (r *request) scheduler() *vspawn.Scheduler {
	if r.attr.Scheduler == nil {
		r.attr.Scheduler = &vspawn.Scheduler{}
	}
	return r.attr.Scheduler
}

func setAffinity(r *request, value string) error {
	for _, part := range strings.Split(value, ",") {
		first, last, err := parseRange(part, 13) // 8192 CPUs
		if err != nil {
			return err
		}
		if strings.HasSuffix(part, "-") {
			return fmt.Errorf("%q has no end", part)
		}
		for cpu := first; cpu <= last; cpu++ {
			r.attr.Affinity = append(r.attr.Affinity, cpu)
		}
	}
	return nil
}

func setTimerSlack(r *request, value string) error {
	d, err := parseDuration(value)
	if err == nil && d <= 0 {
		err = fmt.Errorf("%q is not above 0", value)
	}
	r.attr.TimerSlack = d
	return err
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration, such as 10ms or 50us", s)
	}
	return d, nil
}

func setPersonality(r *request, value string) error {
	set, err := bits(value, "personality", personalities)
	r.attr.Personality = vspawn.Ptr(uintptr(set))
	return err
}

// personalities are setarch's names; linux alone is the usual one.
var personalities = map[string]uint64{
	"linux": vspawn.PER_LINUX, "linux32": vspawn.PER_LINUX32, "uname-2.6": vspawn.UNAME26,
	"addr-no-randomize": vspawn.ADDR_NO_RANDOMIZE, "fdpic-funcptrs": vspawn.FDPIC_FUNCPTRS,
	"mmap-page-zero": vspawn.MMAP_PAGE_ZERO, "addr-compat-layout": vspawn.ADDR_COMPAT_LAYOUT,
	"read-implies-exec": vspawn.READ_IMPLIES_EXEC, "32bit": vspawn.ADDR_LIMIT_32BIT, "short-inode": vspawn.SHORT_INODE,
	"whole-seconds": vspawn.WHOLE_SECONDS, "sticky-timeouts": vspawn.STICKY_TIMEOUTS, "3gb": vspawn.ADDR_LIMIT_3GB,
}
