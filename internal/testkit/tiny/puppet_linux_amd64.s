#include "textflag.h"

// The puppet's program, for tiny.go to copy. R12 holds the length of the frame,
// R13 the call at hand. The channel is descriptor 99.
TEXT program<>(SB), NOSPLIT|NOFRAME, $0
	LEAQ	-65536(SP), BX	// the frame
	MOVQ	SP, 0(BX)
	MOVQ	BX, 8(BX)
	MOVQ	$16, R12
reply:
	MOVQ	$1, AX	// write
	MOVQ	$99, DI
	MOVQ	BX, SI
	MOVQ	R12, DX
	SYSCALL
	MOVQ	$0, AX	// read
	MOVQ	$99, DI
	MOVQ	BX, SI
	MOVQ	$65536, DX
	SYSCALL
	MOVQ	AX, R12
	MOVQ	BX, R13
	CMPQ	AX, $0
	JLE	exit
call:
	MOVQ	0(R13), AX
	CMPQ	AX, $0
	JLT	reply	// the end of the list
	MOVQ	8(R13), DI
	MOVQ	16(R13), SI
	MOVQ	24(R13), DX
	MOVQ	32(R13), R10
	MOVQ	40(R13), R8
	MOVQ	48(R13), R9
	SYSCALL
	MOVQ	AX, 0(R13)
	ADDQ	$56, R13
	JMP	call
exit:
	SHRQ	$63, AX	// 1 if the read has failed
	MOVQ	AX, DI
	MOVQ	$231, AX	// exit_group
	SYSCALL
	LONG	$0x50505556	// the end mark
	LONG	$0x54454e44

DATA ·start(SB)/8, $program<>(SB)
GLOBL ·start(SB), RODATA, $8
