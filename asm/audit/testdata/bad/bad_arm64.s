#include "textflag.h"

// PART is what all the spawns begin with; the child goes on after it.
#define PART \
	SVC; \
	SVC; \
	CBZ	R0, child; \
	RET; \
child:

TEXT ·spawnPushes(SB),NOSPLIT|NOFRAME,$0-0
	PART
	MOVD.W	R0, -16(RSP)
	B	child

TEXT ·spawnPops(SB),NOSPLIT|NOFRAME,$0-0
	PART
	MOVD.P	16(RSP), R0
	B	child

TEXT ·spawnCalls(SB),NOSPLIT|NOFRAME,$0-0
	PART
	CALL	·spawnPops(SB)
	B	child

TEXT ·spawnReturns(SB),NOSPLIT|NOFRAME,$0-0
	PART
	RET

TEXT ·spawnReturnsLate(SB),NOSPLIT|NOFRAME,$0-0
	PART
	CMP	$7, R0
	BHS	late
	B	child
late:
	RET

TEXT ·spawnStores(SB),NOSPLIT|NOFRAME,$0-0
	PART
	MOVD	R0, -8(RSP)
	B	child

TEXT ·spawnMovesSP(SB),NOSPLIT|NOFRAME,$0-0
	PART
	SUB	$64, RSP
	B	child

TEXT ·spawnAlias(SB),NOSPLIT|NOFRAME,$0-0
	PART
	MOVD	RSP, R1
	MOVD	R0, (R1)
	B	child

TEXT ·spawnEarly(SB),NOSPLIT|NOFRAME,$0-0
	SVC
	SVC
	MOVD	R0, -8(RSP)
	CBZ	R0, child
	RET
child:
	B	child

TEXT ·spawnG(SB),NOSPLIT|NOFRAME,$0-0
	PART
	MOVD	R0, (g)
	B	child

TEXT ·spawnJumps(SB),NOSPLIT|NOFRAME,$0-0
	PART
	JMP	(R0)

TEXT ·spawnLeaves(SB),NOSPLIT|NOFRAME,$0-0
	PART
	B	·spawnPops(SB)

TEXT ·spawnGarbage(SB),NOSPLIT|NOFRAME,$0-0
	PART
	WORD	$0 // undefined for ever
	B	child

TEXT ·spawnUnparted(SB),NOSPLIT|NOFRAME,$0-0
	SVC
	SVC
	B	done
done:
	RET

// With a frame the assembler saves the link register.
TEXT ·vforkStacks(SB),NOSPLIT,$16-0
	SVC
	RET

TEXT ·vforkCalls(SB),NOSPLIT|NOFRAME,$0-0
	SVC
	CALL	·spawnPops(SB)
	RET

TEXT ·vforkLoses(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	R0, R30
	SVC
	RET

TEXT ·vforkForgets(SB),NOSPLIT|NOFRAME,$0-0
	SVC
	MOVD	8(RSP), R30
	RET

TEXT ·vforkTwice(SB),NOSPLIT|NOFRAME,$0-0
	SVC
	SVC
	RET
