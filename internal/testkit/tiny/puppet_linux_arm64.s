#include "textflag.h"

// The puppet's program, for tiny.go to copy. R19 holds the frame's address, R20
// its length, R21 the call at hand. The channel is descriptor 99.
TEXT program<>(SB), NOSPLIT|NOFRAME, $0
	MOVD	RSP, R22
	SUB	$65536, R22, R19
	MOVD	R22, 0(R19)
	MOVD	R19, 8(R19)
	MOVD	$16, R20
reply:
	MOVD	$64, R8	// write
	MOVD	$99, R0
	MOVD	R19, R1
	MOVD	R20, R2
	SVC
	MOVD	$63, R8	// read
	MOVD	$99, R0
	MOVD	R19, R1
	MOVD	$65536, R2
	SVC
	MOVD	R0, R20
	MOVD	R19, R21
	CMP	$0, R0
	BLE	exit
call:
	MOVD	0(R21), R8
	CMP	$0, R8
	BLT	reply	// the end of the list
	MOVD	8(R21), R0
	MOVD	16(R21), R1
	MOVD	24(R21), R2
	MOVD	32(R21), R3
	MOVD	40(R21), R4
	MOVD	48(R21), R5
	SVC
	MOVD	R0, 0(R21)
	ADD	$56, R21
	B	call
exit:
	LSR	$63, R0	// 1 if the read has failed
	MOVD	$94, R8	// exit_group
	SVC
	WORD	$0x50505556	// the end mark
	WORD	$0x54454e44

DATA ·start(SB)/8, $program<>(SB)
GLOBL ·start(SB), RODATA, $8
