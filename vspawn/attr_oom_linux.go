package vspawn

import (
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

const ownOOMScoreAdj = "/proc/self/oom_score_adj"

func addOOMScoreAdj(c *compiler) error {
	n := c.attr.OOMScoreAdj
	if n == nil {
		return nil
	}
	if *n < -1000 || *n > 1000 {
		return refuse("OOMScoreAdj", "%d is not from -1000 to 1000", *n)
	}
	c.plan.writesOwnProc, c.plan.oomScoreAdj = true, *n
	c.plan.oomScoreFD = c.keep(c.open("OOMScoreAdj", ownOOMScoreAdj, unix.O_WRONLY, 0))
	c.writeOOMScoreAdj(opLowerOOMScoreAdj)
	return nil
}

func addOOMScoreAdjRaised(c *compiler) error {
	if c.attr.OOMScoreAdj != nil {
		c.writeOOMScoreAdj(opRaiseOOMScoreAdj)
	}
	return nil
}

func (c *compiler) writeOOMScoreAdj(kind opKind) {
	text := strconv.Itoa(c.plan.oomScoreAdj)
	c.op(op{kind: kind, field: "OOMScoreAdj", name: "write", nr: unix.SYS_WRITE, object: ownOOMScoreAdj,
		args: []arg{c.fd(c.plan.oomScoreFD), c.str(text), dec(len(text))}, flags: asm.Expect, want: dec(len(text))})
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
