package vspawn

import (
	"github.com/vspawn/vspawn/asm"
)

// addSyscalls appends the caller's own that belong before an attribute.
func addSyscalls(c *compiler, field string) {
	for i, s := range c.attr.Syscalls {
		if s.Before != field && (s.Before != "" || field != "SignalMask") {
			continue
		}
		o := op{field: index("Syscalls", i), call: call{s.Name, s.Nr}}
		if o.name == "" {
			o.name = "syscall_" + itoa(int(s.Nr))
		}
		for _, a := range s.Args {
			o.args = append(o.args, name(hex(a), a))
		}
		if changesCredentials(s.Nr) {
			c.plan.credentials = true
		}
		if s.Tolerate {
			o.flags = asm.Tolerate
		}
		c.op(o)
	}
}

func (c *compiler) checkSyscalls() {
	for i, s := range c.attr.Syscalls {
		known := s.Before == ""
		for _, a := range attributes {
			known = known || a.field == s.Before
		}
		if !known {
			c.refuse(index("Syscalls", i), "Before: %q is not a place in the order", s.Before)
		}
	}
}
