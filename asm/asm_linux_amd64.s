#include "go_asm.h"
#include "textflag.h"

// Linux system calls on amd64:
//
//	number  arguments              result  lost          kept
//	AX      DI SI DX R10 R8 R9     AX      AX, CX, R11   all others
//
// This file's own registers:
//
//	BX   *Program
//	R12  *Step at hand; in Vfork the return address
//	R13  what Create returned

// STEP makes the system call of the Step at R12; its result is in AX.
#define STEP \
	MOVQ	Step_Nr(R12), AX; \
	MOVQ	(Step_Args+0)(R12), DI; \
	MOVQ	(Step_Args+8)(R12), SI; \
	MOVQ	(Step_Args+16)(R12), DX; \
	MOVQ	(Step_Args+24)(R12), R10; \
	MOVQ	(Step_Args+32)(R12), R8; \
	MOVQ	(Step_Args+40)(R12), R9; \
	SYSCALL

// func Vfork() (r uintptr)
//
// The child's calls overwrite the word that holds our return address, so it
// waits in a register, and both sides put it back before they return.
TEXT ·Vfork(SB),NOSPLIT|NOFRAME,$0-8
	MOVQ	$const_sysClone, AX
	MOVQ	$const_vforkFlags, DI
	XORL	SI, SI // child's stack: the parent's
	XORL	DX, DX
	XORL	R10, R10
	XORL	R8, R8
	POPQ	R12
	SYSCALL
	PUSHQ	R12
	MOVQ	AX, r+0(FP)
	RET

// func spawn(p *Program) (r uintptr)
TEXT ·spawn(SB),NOSPLIT|NOFRAME,$0-16
	MOVQ	p+0(FP), BX
	LEAQ	Program_Block(BX), R12
	STEP
	LEAQ	Program_Create(BX), R12
	STEP
	TESTQ	AX, AX
	JEQ	child

parent:
	MOVQ	AX, R13
	LEAQ	Program_Restore(BX), R12
	STEP
	MOVQ	R13, r+8(FP)
	RET

	// From here to the end the child runs, on registers alone: its only
	// stores go to the Program.
child:
	MOVQ	$1, Program_Entered(BX)
	MOVQ	Program_Steps(BX), R12

next:
	MOVQ	R12, Program_At(BX)
	STEP
	CMPQ	AX, $-4095
	JCC	failed // -4095..-1, as unsigned numbers, are errors
	TESTQ	$const_Expect, Step_Flags(R12)
	JEQ	store
	CMPQ	AX, Step_Want(R12)
	JNE	failed

store:
	MOVQ	Step_Out(R12), CX
	TESTQ	CX, CX
	JEQ	advance
	MOVQ	AX, (CX)

advance:
	ADDQ	$Step__size, R12
	JMP	next

failed:
	TESTQ	$const_Tolerate, Step_Flags(R12)
	JNE	advance
	MOVQ	AX, Program_Result(BX)
	MOVQ	R12, Program_Failed(BX)
	LEAQ	Program_Report(BX), R12
	STEP

exit:
	MOVQ	$const_sysExitGroup, AX
	MOVQ	$127, DI
	SYSCALL
	MOVQ	$const_sysExit, AX // a filter of system calls forbids the first
	MOVQ	$127, DI
	SYSCALL
	MOVQ	$const_sysGetpid, AX
	SYSCALL
	MOVQ	AX, DI // an error is no process to tgkill, but would be to kill
	MOVQ	AX, SI
	MOVQ	$const_sigkill, DX
	MOVQ	$const_sysTgkill, AX
	SYSCALL
	UNDEF // it forbids all of them
	JMP	exit
