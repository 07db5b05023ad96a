#include "textflag.h"

// PART is what all the spawns begin with; the child goes on after it.
#define PART \
	SYSCALL; \
	SYSCALL; \
	TESTQ	AX, AX; \
	JEQ	child; \
	RET; \
child:

TEXT ·spawnPushes(SB),NOSPLIT|NOFRAME,$0-0
	PART
	PUSHQ	AX
	JMP	child

TEXT ·spawnPops(SB),NOSPLIT|NOFRAME,$0-0
	PART
	POPQ	AX
	JMP	child

TEXT ·spawnCalls(SB),NOSPLIT|NOFRAME,$0-0
	PART
	CALL	·spawnPops(SB)
	JMP	child

TEXT ·spawnReturns(SB),NOSPLIT|NOFRAME,$0-0
	PART
	RET

TEXT ·spawnReturnsLate(SB),NOSPLIT|NOFRAME,$0-0
	PART
	CMPQ	AX, $7
	JCC	late
	JMP	child
late:
	RET

TEXT ·spawnStores(SB),NOSPLIT|NOFRAME,$0-0
	PART
	MOVQ	AX, -8(SP)
	JMP	child

TEXT ·spawnMovesSP(SB),NOSPLIT|NOFRAME,$0-0
	PART
	LEAQ	-64(SP), SP
	JMP	child

TEXT ·spawnAlias(SB),NOSPLIT|NOFRAME,$0-0
	PART
	MOVQ	SP, CX
	MOVQ	AX, (CX)
	JMP	child

TEXT ·spawnEarly(SB),NOSPLIT|NOFRAME,$0-0
	SYSCALL
	SYSCALL
	MOVQ	AX, -8(SP)
	TESTQ	AX, AX
	JEQ	child
	RET
child:
	JMP	child

TEXT ·spawnG(SB),NOSPLIT|NOFRAME,$0-0
	PART
	MOVQ	AX, (R14)
	JMP	child

TEXT ·spawnJumps(SB),NOSPLIT|NOFRAME,$0-0
	PART
	JMP	AX

TEXT ·spawnLeaves(SB),NOSPLIT|NOFRAME,$0-0
	PART
	JMP	·spawnPops(SB)

TEXT ·spawnGarbage(SB),NOSPLIT|NOFRAME,$0-0
	PART
	BYTE	$0x06 // not in 64-bit mode
	JMP	child

TEXT ·spawnUnparted(SB),NOSPLIT|NOFRAME,$0-0
	SYSCALL
	SYSCALL
	JMP	done
done:
	RET

TEXT ·vforkStacks(SB),NOSPLIT|NOFRAME,$0-0
	SYSCALL
	RET

TEXT ·vforkCalls(SB),NOSPLIT|NOFRAME,$0-0
	POPQ	R12
	SYSCALL
	CALL	·spawnPops(SB)
	PUSHQ	R12
	RET

TEXT ·vforkLoses(SB),NOSPLIT|NOFRAME,$0-0
	POPQ	R11
	SYSCALL
	PUSHQ	R11
	RET

TEXT ·vforkForgets(SB),NOSPLIT|NOFRAME,$0-0
	BYTE	$0x41; BYTE $0x5c // POPQ R12, behind the assembler's back
	SYSCALL
	RET

TEXT ·vforkTwice(SB),NOSPLIT|NOFRAME,$0-0
	POPQ	R12
	SYSCALL
	SYSCALL
	PUSHQ	R12
	RET
