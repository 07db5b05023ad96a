package audit

import (
	"regexp"
	"strings"

	"golang.org/x/arch/x86/x86asm"
)

var _ = add(&architecture{
	name: "amd64",
	decode: func(code []byte) (op, error) {
		inst, err := x86asm.Decode(code, 64)
		if err != nil {
			return op{}, err
		}
		o := op{text: inst.String(), size: inst.Len}
		if rel, ok := inst.Args[0].(x86asm.Rel); ok {
			o.flow, o.rel = branch, inst.Len+int(rel)
		}
		switch inst.Op {
		case x86asm.SYSCALL:
			o.flow = syscall
		case x86asm.JMP:
			o.flow = jump
		case x86asm.CALL, x86asm.LCALL:
			o.flow = call
		case x86asm.LJMP:
			o.flow = indirect
		case x86asm.RET, x86asm.LRET, x86asm.IRET, x86asm.IRETD, x86asm.IRETQ:
			o.flow = ret
		case x86asm.JE:
			o.ifZero = true
		}
		if o.flow == jump && o.rel == 0 {
			o.flow = indirect
		}
		switch name := inst.Op.String(); {
		case strings.HasPrefix(name, "PUSH") || name == "ENTER":
			o.push = operand(inst)
		case strings.HasPrefix(name, "POP") && inst.Op != x86asm.POPCNT || name == "LEAVE":
			o.pop = operand(inst)
		}
		return o, nil
	},
	g:     regexp.MustCompile(`\bR14[LWB]?\b`),
	sp:    regexp.MustCompile(`\b[RE]?SPL?\b`),
	child: regexp.MustCompile(`\b([RE]?[SB]PL?|R14[LWB]?)\b`),
	lost:  regexp.MustCompile(`^(RAX|RCX|R11)$`),
})

// operand names what is pushed or popped.
func operand(inst x86asm.Inst) string {
	if inst.Args[0] == nil {
		return inst.Op.String()
	}
	return inst.Args[0].String()
}
