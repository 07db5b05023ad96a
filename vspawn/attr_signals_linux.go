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
	s := c.attr.Pdeathsig
	if s == 0 {
		return nil
	}
	if !validSignal(s) {
		return refuse("Pdeathsig", "%d is not a signal", int(s))
	}
	c.plan.pdeathsig = !c.attr.Ptrace // whose tracer is the thread that starts it
	c.op(op{field: "Pdeathsig", call: sysPrctl,
		args: []arg{name("PR_SET_PDEATHSIG", unix.PR_SET_PDEATHSIG), sig(s)}})
	addParentLives(c, "Pdeathsig")
	return nil
}
