#include "go_asm.h"
#include "textflag.h"

// func Vfork() (r uintptr)
TEXT ·Vfork(SB),NOSPLIT|NOFRAME,$0-8
	MOV	$const_sysClone, A7
	MOV	$const_vforkFlags, A0
	MOV	ZERO, A1
	MOV	ZERO, A2
	MOV	ZERO, A3
	MOV	ZERO, A4
	MOV	RA, -16(X2)
	ECALL
	MOV	-16(X2), RA
	MOV	A0, r+0(FP)
	RET

// func Smash()
TEXT ·Smash(SB),NOSPLIT|NOFRAME,$0-0
	MOV	X2, T0
	MOV	$32, T1
again:
	ADD	$-8, T0
	MOV	RA, (T0)
	ADD	$-1, T1
	BNEZ	T1, again
	RET
