#include "go_asm.h"
#include "textflag.h"

// func Vfork() (r uintptr)
TEXT ·Vfork(SB),NOSPLIT|NOFRAME,$0-8
	MOVQ	$const_sysClone, AX
	MOVQ	$const_vforkFlags, DI
	XORL	SI, SI
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	SYSCALL
	MOVQ	AX, r+0(FP)
	RET

// func Smash()
TEXT ·Smash(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	(SP), AX
	MOVQ	SP, BX
	MOVQ	$31, CX // the return address itself is one more
again:
	SUBQ	$8, BX
	MOVQ	AX, (BX)
	SUBQ	$1, CX
	JNE	again
	RET
