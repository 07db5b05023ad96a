#include "go_asm.h"
#include "textflag.h"

// func Vfork() (r uintptr)
TEXT ·Vfork(SB),NOSPLIT|NOFRAME,$0-8
	MOVD	$const_sysClone, R8
	MOVD	$const_vforkFlags, R0
	MOVD	ZR, R1
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	MOVD.W	R30, -16(RSP)
	SVC
	MOVD.P	16(RSP), R30
	MOVD	R0, r+0(FP)
	RET

// func Smash()
TEXT ·Smash(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	RSP, R1
	MOVD	$32, R2
again:
	MOVD.W	R30, -8(R1)
	SUB	$1, R2
	CBNZ	R2, again
	RET
