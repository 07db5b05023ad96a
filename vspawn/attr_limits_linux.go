package vspawn

import (
	"math"
	"strconv"

	"golang.org/x/sys/unix"
)

func addRlimits(c *compiler) error {
	set := map[int]bool{}
	for i, r := range c.attr.Rlimits {
		field := index("Rlimits", i)
		switch {
		case r.Resource < 0 || r.Resource >= len(rlimitNames):
			return refuse(field, "%d is not a resource", r.Resource)
		case r.Soft > r.Hard:
			return refuse(field, "the soft limit %d is above the hard limit %d", r.Soft, r.Hard)
		case set[r.Resource]:
			return refuse(field, "%s is named twice", rlimitName(r.Resource))
		}
		set[r.Resource] = true
		if r.Resource != unix.RLIMIT_NOFILE || raisesNofile(r) {
			c.rlimit(field, r)
		}
	}
	return nil
}

// addNofile sets the limit of descriptors, if addRlimits has not: to lower it
// takes no privilege, and may not be in the way of Files.
func addNofile(c *compiler) error {
	for i, r := range c.attr.Rlimits {
		if r.Resource == unix.RLIMIT_NOFILE {
			if !raisesNofile(r) {
				c.rlimit(index("Rlimits", i), r)
			}
			return nil
		}
	}
	if r, raised := nofileAtStart(); raised {
		// Whether it is that still, each start looks.
		c.rlimit("", r)
		o := &c.plan.ops[len(c.plan.ops)-1]
		o.kind, o.args[2].kind = opNofile, argNofile
	}
	return nil
}

func (c *compiler) rlimit(field string, r Rlimit) {
	limits := arg{val: c.mem.words64([]uint64{r.Soft, r.Hard}), show: rlimitValue(r)}
	c.op(op{field: field, call: sysPrlimit64, object: rlimitName(r.Resource),
		args: []arg{dec(0), name(rlimitName(r.Resource), uintptr(r.Resource)), limits, name("NULL", 0)}})
}

var rlimitNames = [...]string{"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
	"MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"}

func rlimitName(resource int) string { return "RLIMIT_" + rlimitNames[resource] }

// rlimitValue prints as strace prints a struct rlimit.
type rlimitValue Rlimit

func (r rlimitValue) String() string {
	return "{rlim_cur=" + limit(r.Soft) + ", rlim_max=" + limit(r.Hard) + "}"
}

func limit(v uint64) string {
	if v == math.MaxUint64 {
		return "RLIM_INFINITY"
	}
	return strconv.FormatUint(v, 10)
}
