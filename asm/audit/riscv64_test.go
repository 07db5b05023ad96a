package audit

import (
	"regexp"

	"golang.org/x/arch/riscv64/riscv64asm"
)

var _ = add(&architecture{
	name: "riscv64",
	decode: func(code []byte) (op, error) {
		inst, err := riscv64asm.Decode(code)
		if err != nil {
			return op{}, err
		}
		o := op{text: inst.String(), size: inst.Len}
		switch inst.Op {
		case riscv64asm.ECALL:
			o.flow = syscall
		case riscv64asm.JAL, riscv64asm.JALR:
			switch link := inst.Args[0] == riscv64asm.X0; {
			case !link:
				o.flow = call
			case inst.Op == riscv64asm.JAL:
				o.flow = jump
			case inst.Args[1].(riscv64asm.RegOffset).OfsReg == riscv64asm.X1:
				o.flow = ret
			default:
				o.flow = indirect
			}
		case riscv64asm.BEQ:
			o.flow, o.ifZero = branch, true
		case riscv64asm.BNE, riscv64asm.BLT, riscv64asm.BGE, riscv64asm.BLTU, riscv64asm.BGEU:
			o.flow = branch
		}
		if o.flow != next {
			for _, arg := range inst.Args {
				if imm, ok := arg.(riscv64asm.Simm); ok {
					o.rel = int(imm.Imm)
				}
			}
		}
		return o, nil
	},
	g:     regexp.MustCompile(`\bx27\b`),
	sp:    regexp.MustCompile(`\bx2\b`),
	child: regexp.MustCompile(`\b(x1|x2|x27)\b`),
	link:  regexp.MustCompile(`\bx1\b`),
})
