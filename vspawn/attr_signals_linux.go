package vspawn

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func addDispositions(c *compiler) error {
	c.op(op{kind: opResetHandlers, field: "DefaultSignals", call: sysRtSigaction})
	seen := map[syscall.Signal]bool{}
	for _, list := range []struct {
		field   string
		signals []syscall.Signal
		handler uint64
		text    string
	}{
		{"DefaultSignals", c.attr.DefaultSignals, sigDfl, "{sa_handler=SIG_DFL}"},
		{"IgnoreSignals", c.attr.IgnoreSignals, sigIgn, "{sa_handler=SIG_IGN}"},
	} {
		for i, s := range list.signals {
			if err := checkSignal(index(list.field, i), s); err != nil {
				return err
			}
			if seen[s] {
				return refuse(index(list.field, i), "%s is named twice", unix.SignalName(s))
			}
			seen[s] = true
			c.op(sigaction(c, list.field, s, list.handler, list.text))
		}
	}
	return nil
}

func addMask(c *compiler) error {
	mask := arg{kind: argMask}
	if c.attr.SignalMask != nil {
		var set uint64
		for i, s := range c.attr.SignalMask {
			if err := checkSignal(index("SignalMask", i), s); err != nil {
				return err
			}
			set |= 1 << (s - 1)
		}
		mask = name(signalSetText(c.attr.SignalMask), c.mem.words64([]uint64{set}))
		c.plan.mask = &set
	}
	if c.plan.traced {
		return nil // its tracer sets it, at the exec
	}
	c.op(op{field: "SignalMask", call: sysRtSigprocmask,
		args: []arg{name("SIG_SETMASK", unix.SIG_SETMASK), mask, name("NULL", 0), dec(sigsetSize)}})
	return nil
}

// addPdeathsig looks for the parent after it has set the signal: one that was
// already dead would never send it.
func addPdeathsig(c *compiler) error {
	a := c.attr
	o := op{field: "Pdeathsig", call: sysPrctl}
	s := a.deathSignal()
	switch {
	case a.DieWithParent && a.Pdeathsig != 0:
		return refuse("DieWithParent", "contradicts Pdeathsig: it is SIGKILL")
	case a.DieWithParent && a.Ptrace:
		return refuse("DieWithParent", "contradicts Ptrace, whose child is bound to the thread that traces it: use Pdeathsig")
	case a.DieWithParent:
		o.field, c.plan.dies = "DieWithParent", true
		if !a.StartStopped { // see autokillFlags
			o.kind = opDeathSignal
		}
		// The caller's own calls may need privileges that are to be gained.
		c.plan.bornNNP = a.NoNewPrivs && len(a.Syscalls) == 0
	case s == 0:
		return nil
	case !validSignal(s):
		return refuse("Pdeathsig", "%d is not a signal", int(s))
	}
	c.plan.pdeathsig = !a.Ptrace // whose tracer is the thread that starts it
	o.args = []arg{name("PR_SET_PDEATHSIG", unix.PR_SET_PDEATHSIG), sig(s)}
	c.op(o)
	addParentLives(c, o.field)
	return nil
}

// deathSignal is the signal at the parent's death, or 0.
func (a *Attr) deathSignal() syscall.Signal {
	if a.DieWithParent {
		return unix.SIGKILL
	}
	return a.Pdeathsig
}
