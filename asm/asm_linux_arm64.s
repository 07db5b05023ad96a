#include "go_asm.h"
#include "textflag.h"

// Linux system calls on arm64:
//
//	number  arguments           result  lost  kept
//	R8      R0 R1 R2 R3 R4 R5   R0      R0    all others
//
// This file's own registers:
//
//	R19  *Program
//	R20  *Step at hand
//	R21  what Create returned
//	R22  scratch
//	R30  the return address, never stored: the functions are leaves

// STEP makes the system call of the Step at R20; its result is in R0.
#define STEP \
	MOVD	Step_Nr(R20), R8; \
	MOVD	(Step_Args+0)(R20), R0; \
	MOVD	(Step_Args+8)(R20), R1; \
	MOVD	(Step_Args+16)(R20), R2; \
	MOVD	(Step_Args+24)(R20), R3; \
	MOVD	(Step_Args+32)(R20), R4; \
	MOVD	(Step_Args+40)(R20), R5; \
	SVC

// func Vfork() (r uintptr)
//
// The child's calls overwrite the words below our caller's frame. The return
// address is not among them: it stays in R30.
TEXT ·Vfork(SB),NOSPLIT|NOFRAME,$0-8
	MOVD	$const_sysClone, R8
	MOVD	$const_vforkFlags, R0
	MOVD	ZR, R1 // child's stack: the parent's
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	ZR, R4
	SVC
	MOVD	R0, r+0(FP)
	RET

// func spawn(p *Program) (r uintptr)
TEXT ·spawn(SB),NOSPLIT|NOFRAME,$0-16
	MOVD	p+0(FP), R19
	ADD	$Program_Block, R19, R20
	STEP
	ADD	$Program_Create, R19, R20
	STEP
	CBZ	R0, child

parent:
	MOVD	R0, R21
	ADD	$Program_Restore, R19, R20
	STEP
	MOVD	R21, r+8(FP)
	RET

	// From here to the end the child runs, on registers alone: its only
	// stores go to the Program.
child:
	MOVD	$1, R22
	MOVD	R22, Program_Entered(R19)
	MOVD	Program_Steps(R19), R20

next:
	MOVD	R20, Program_At(R19)
	STEP
	CMN	$4095, R0
	BHS	failed // -4095..-1, as unsigned numbers, are errors
	MOVD	Step_Flags(R20), R22
	TST	$const_Expect, R22
	BEQ	store
	MOVD	Step_Want(R20), R22
	CMP	R22, R0
	BNE	failed

store:
	MOVD	Step_Out(R20), R22
	CBZ	R22, advance
	MOVD	R0, (R22)

advance:
	ADD	$Step__size, R20
	B	next

failed:
	MOVD	Step_Flags(R20), R22
	TST	$const_Tolerate, R22
	BNE	advance
	MOVD	R0, Program_Result(R19)
	MOVD	R20, Program_Failed(R19)
	ADD	$Program_Report, R19, R20
	STEP

exit:
	MOVD	$const_sysExitGroup, R8
	MOVD	$127, R0
	SVC
	MOVD	$const_sysExit, R8 // a filter of system calls forbids the first
	MOVD	$127, R0
	SVC
	MOVD	$const_sysGetpid, R8
	SVC
	MOVD	R0, R1 // an error is no process to tgkill, but would be to kill
	MOVD	$const_sigkill, R2
	MOVD	$const_sysTgkill, R8
	SVC
	BRK	$0 // it forbids all of them
	B	exit
