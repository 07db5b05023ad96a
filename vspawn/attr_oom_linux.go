package vspawn

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// While a child shares our memory, what the kernel kills for want of memory is
// both of us: with memory.oom.group it kills all of a cgroup, but those at -1000,
// and with each all who share its memory (mm/oom_kill.c). So a child keeps the
// protection that it has from its parent up to its exec: only then its adjustment
// is raised, which takes no privilege. It is lowered as long as it has one.
//
// The kernel gives all who share memory the same value, but for a child of vfork
// (fs/proc/base.c, __set_oom_adj). A traced child is none, so that its value is
// written by its tracer at its exec.

const ownOOMScoreAdj = "/proc/self/oom_score_adj"

func addOOMScoreAdj(c *compiler) error {
	n := c.attr.OOMScoreAdj
	if n == nil {
		return nil
	}
	if *n < -1000 || *n > 1000 {
		return refuse("OOMScoreAdj", "%d is not from -1000 to 1000", *n)
	}
	c.plan.oomScoreAdj = *n
	if c.plan.tracedScore = c.attr.Ptrace || c.attr.StartStopped; c.plan.tracedScore {
		return nil
	}
	c.plan.writesOwnProc = true
	c.plan.oomScoreFD = c.keep(c.open("OOMScoreAdj", c.str("OOMScoreAdj", ownOOMScoreAdj), name(openFlags(unix.O_WRONLY), unix.O_WRONLY), 0))
	c.writeOOMScoreAdj(opLowerOOMScoreAdj)
	return nil
}

func addOOMScoreAdjRaised(c *compiler) error {
	if c.plan.writesOwnProc {
		c.writeOOMScoreAdj(opRaiseOOMScoreAdj)
	}
	return nil
}

func (c *compiler) writeOOMScoreAdj(kind opKind) {
	text := strconv.Itoa(c.plan.oomScoreAdj)
	c.op(op{kind: kind, field: "OOMScoreAdj", call: sysWrite, object: ownOOMScoreAdj,
		args: []arg{numbered(c.plan.oomScoreFD), c.str("OOMScoreAdj", text), size(len(text))}, flags: asm.Expect, want: size(len(text))})
}

// lowersOOMScoreAdj tells whether the child's adjustment is to be below the
// parent's present one. If that can't be read, the child says why.
func (p *Plan) lowersOOMScoreAdj() bool {
	if !p.writesOwnProc {
		return false
	}
	text, err := os.ReadFile(ownOOMScoreAdj)
	if err != nil {
		return false
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return err == nil && p.oomScoreAdj < own
}

// writeScore writes a traced child's adjustment.
func (p *Plan) writeScore(pid int) error {
	path := "/proc/" + itoa(pid) + "/oom_score_adj"
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		defer f.Close()
		_, err = f.WriteString(strconv.Itoa(p.oomScoreAdj))
	}
	if err == nil {
		return nil
	}
	e := &Error{Step: "write", Field: "OOMScoreAdj", Object: path, Err: errors.Unwrap(err)}
	if e.Err == unix.EACCES {
		e.Hint = "a traced child's is written by its parent, which takes CAP_SYS_RESOURCE to lower it, " +
			"and CAP_DAC_OVERRIDE if the child is another user's"
	}
	return e
}
