package audit

import (
	"regexp"

	"golang.org/x/arch/arm64/arm64asm"
)

var _ = add(&architecture{
	name: "arm64",
	decode: func(code []byte) (op, error) {
		inst, err := arm64asm.Decode(code)
		if err != nil {
			return op{}, err
		}
		o := op{text: inst.String(), size: 4}
		switch inst.Op {
		case arm64asm.SVC:
			o.flow = syscall
		case arm64asm.BL, arm64asm.BLR:
			o.flow = call
		case arm64asm.BR:
			o.flow = indirect
		case arm64asm.RET, arm64asm.ERET:
			o.flow = ret
		case arm64asm.CBZ:
			o.flow, o.ifZero = branch, true
		case arm64asm.CBNZ, arm64asm.TBZ, arm64asm.TBNZ:
			o.flow = branch
		case arm64asm.B:
			o.flow = jump
			if cond, ok := inst.Args[0].(arm64asm.Cond); ok {
				o.flow, o.ifZero = branch, cond.String() == "EQ"
			}
		}
		if o.flow != next {
			for _, arg := range inst.Args {
				if rel, ok := arg.(arm64asm.PCRel); ok {
					o.rel = int(rel)
				}
			}
		}
		return o, nil
	},
	g:     regexp.MustCompile(`\b[XW]28\b`),
	sp:    regexp.MustCompile(`\bW?SP\b`),
	child: regexp.MustCompile(`\b(W?SP|[XW](28|29|30))\b`),
	link:  regexp.MustCompile(`\b[XW]30\b`),
})
