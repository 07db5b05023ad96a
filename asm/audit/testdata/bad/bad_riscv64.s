#include "textflag.h"

// PART is what all the spawns begin with; the child goes on after it.
#define PART \
	ECALL; \
	ECALL; \
	BEQZ	A0, child; \
	RET; \
child:

TEXT ·spawnPushes(SB),NOSPLIT|NOFRAME,$0-0
	PART
	MOV	A0, -16(X2)
	ADD	$-16, X2
	JMP	child

TEXT ·spawnPops(SB),NOSPLIT|NOFRAME,$0-0
	PART
	ADD	$16, X2
	MOV	-16(X2), A0
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
	MOV	$7, T0
	BGEU	A0, T0, late
	JMP	child
late:
	RET

TEXT ·spawnStores(SB),NOSPLIT|NOFRAME,$0-0
	PART
	MOV	A0, -8(X2)
	JMP	child

TEXT ·spawnMovesSP(SB),NOSPLIT|NOFRAME,$0-0
	PART
	ADD	$-64, X2
	JMP	child

TEXT ·spawnAlias(SB),NOSPLIT|NOFRAME,$0-0
	PART
	MOV	X2, T0
	MOV	A0, (T0)
	JMP	child

TEXT ·spawnEarly(SB),NOSPLIT|NOFRAME,$0-0
	ECALL
	ECALL
	MOV	A0, -8(X2)
	BEQZ	A0, child
	RET
child:
	JMP	child

TEXT ·spawnG(SB),NOSPLIT|NOFRAME,$0-0
	PART
	MOV	A0, (g)
	JMP	child

TEXT ·spawnJumps(SB),NOSPLIT|NOFRAME,$0-0
	PART
	JMP	(A0)

TEXT ·spawnLeaves(SB),NOSPLIT|NOFRAME,$0-0
	PART
	JMP	·spawnPops(SB)

TEXT ·spawnGarbage(SB),NOSPLIT|NOFRAME,$0-0
	PART
	WORD	$0xffffffff // undefined for ever
	JMP	child

TEXT ·spawnUnparted(SB),NOSPLIT|NOFRAME,$0-0
	ECALL
	ECALL
	JMP	done
done:
	RET

// With a frame the assembler saves RA.
TEXT ·vforkStacks(SB),NOSPLIT,$16-0
	ECALL
	RET

TEXT ·vforkCalls(SB),NOSPLIT|NOFRAME,$0-0
	ECALL
	CALL	·spawnPops(SB)
	RET

TEXT ·vforkLoses(SB),NOSPLIT|NOFRAME,$0-0
	MOV	A0, RA
	ECALL
	RET

TEXT ·vforkForgets(SB),NOSPLIT|NOFRAME,$0-0
	ECALL
	MOV	8(X2), RA
	RET

TEXT ·vforkTwice(SB),NOSPLIT|NOFRAME,$0-0
	ECALL
	ECALL
	RET
