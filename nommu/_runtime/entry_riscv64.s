#include "textflag.h"

// The entry point of a program that a kernel without an MMU loads. It relocates
// the program, gives back what will not be used of the stack, and goes on with
// Go's own entry point. argc, argv, envp and auxv are left alone.
//
// register table:
//	X5	this function's address
//	X6	what to add to each word: the address of the program's block
//	X7	next entry of the table; when it is used up, next word to clear
//	X8	end of the table
//	X9	the entry
//	X10	the table's beginning
//	X11	address that the next bitmap begins at
//	X12	address of a word
//	X13	scratch
//	X10, X11, X17	arguments and number of system calls, at the end
//
// func rt0_nommu()
TEXT _rt0_nommu(SB),NOSPLIT|NOFRAME,$0-0
	AUIPC	$0, X5
	JMP	start
	PCALIGN	$8
	// The header, filled in when the file is written: a mark to know it by, this
	// function's address, the table's beginning and its end, the size of the
	// stack. Addresses count from the beginning of the block.
	WORD	$0x6f6e6f67
	WORD	$0x31756d6d
	WORD	$0
	WORD	$0
	WORD	$0
	WORD	$0
	WORD	$0
	WORD	$0
	WORD	$0
	WORD	$0
start:
	MOV	16(X5), X6
	SUB	X6, X5, X6
	MOV	24(X5), X7
	ADD	X6, X7
	MOV	32(X5), X8
	ADD	X6, X8
	MOV	X7, X10
entry:
	BEQ	X7, X8, relocated
	MOV	(X7), X9
	ADD	$8, X7
	AND	$1, X9, X13
	BNE	X13, X0, bitmap
	ADD	X6, X9, X12
	MOV	(X12), X13
	ADD	X6, X13
	MOV	X13, (X12)
	ADD	$8, X12, X11
	JMP	entry
bitmap:
	MOV	X11, X12
	ADD	$(63*8), X11
bit:
	SRL	$1, X9
	BEQ	X9, X0, entry
	AND	$1, X9, X13
	BEQ	X13, X0, next
	MOV	(X12), X13
	ADD	X6, X13
	MOV	X13, (X12)
next:
	ADD	$8, X12
	JMP	bit

	// The table lies where zeros belong.
relocated:
	MOV	X10, X7
clear:
	BEQ	X7, X8, done
	MOV	X0, (X7)
	ADD	$8, X7
	JMP	clear
done:

	// The kernel has made the stack large enough for all arguments that there
	// might be. They are at its top; Go uses 32 KiB below them. Its bottom is
	// where brk begins, which Go does not use.
	MOV	$214, X17	// brk
	MOV	$0, X10
	ECALL
	MOV	40(X5), X13
	ADD	X10, X13
	BGEU	X2, X13, leave	// another kernel's stack
	ADD	$-(36<<10), X2, X11
	AND	$~4095, X11
	BGEU	X10, X11, leave
	SUB	X10, X11
	MOV	$215, X17	// munmap
	ECALL
leave:
	JMP	_rt0_riscv64_linux(SB)
