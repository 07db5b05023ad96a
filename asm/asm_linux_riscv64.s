#include "go_asm.h"
#include "textflag.h"

// Linux system calls on riscv64:
//
//	number  arguments           result  lost  kept
//	A7      A0 A1 A2 A3 A4 A5   A0      A0    all others
//
// This file's own registers:
//
//	S2  *Program
//	S3  *Step at hand
//	S4  what Create returned
//	T0  scratch
//	RA  the return address, never stored: the functions are leaves

// STEP makes the system call of the Step at S3; its result is in A0.
#define STEP \
	MOV	Step_Nr(S3), A7; \
	MOV	(Step_Args+0)(S3), A0; \
	MOV	(Step_Args+8)(S3), A1; \
	MOV	(Step_Args+16)(S3), A2; \
	MOV	(Step_Args+24)(S3), A3; \
	MOV	(Step_Args+32)(S3), A4; \
	MOV	(Step_Args+40)(S3), A5; \
	ECALL

// func Vfork() (r uintptr)
//
// The child's calls overwrite the words below our caller's frame. The return
// address is not among them: it stays in RA.
TEXT ·Vfork(SB),NOSPLIT|NOFRAME,$0-8
	MOV	$const_sysClone, A7
	MOV	$const_vforkFlags, A0
	MOV	ZERO, A1 // child's stack: the parent's
	MOV	ZERO, A2
	MOV	ZERO, A3
	MOV	ZERO, A4
	ECALL
	MOV	A0, r+0(FP)
	RET

// func spawn(p *Program) (r uintptr)
TEXT ·spawn(SB),NOSPLIT|NOFRAME,$0-16
	MOV	p+0(FP), S2
	ADD	$Program_Block, S2, S3
	STEP
	ADD	$Program_Create, S2, S3
	STEP
	BEQZ	A0, child

parent:
	MOV	A0, S4
	ADD	$Program_Restore, S2, S3
	STEP
	MOV	S4, r+8(FP)
	RET

	// From here to the end the child runs, on registers alone: its only
	// stores go to the Program.
child:
	MOV	$1, T0
	MOV	T0, Program_Entered(S2)
	MOV	Program_Steps(S2), S3

next:
	MOV	S3, Program_At(S2)
	STEP
	MOV	$-4095, T0
	BGEU	A0, T0, failed // -4095..-1, as unsigned numbers, are errors
	MOV	Step_Flags(S3), T0
	AND	$const_Expect, T0
	BEQZ	T0, store
	MOV	Step_Want(S3), T0
	BNE	T0, A0, failed

store:
	MOV	Step_Out(S3), T0
	BEQZ	T0, advance
	MOV	A0, (T0)

advance:
	ADD	$Step__size, S3
	JMP	next

failed:
	MOV	Step_Flags(S3), T0
	AND	$const_Tolerate, T0
	BNEZ	T0, advance
	MOV	A0, Program_Result(S2)
	MOV	S3, Program_Failed(S2)
	ADD	$Program_Report, S2, S3
	STEP

exit:
	MOV	$const_sysExitGroup, A7
	MOV	$127, A0
	ECALL
	MOV	$const_sysExit, A7 // a filter of system calls forbids the first
	MOV	$127, A0
	ECALL
	MOV	$const_sysGetpid, A7
	ECALL
	MOV	A0, A1 // an error is no process to tgkill, but would be to kill
	MOV	$const_sigkill, A2
	MOV	$const_sysTgkill, A7
	ECALL
	UNDEF // it forbids all of them
	JMP	exit
