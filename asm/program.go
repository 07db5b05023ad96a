// Package asm starts a child process by vfork, in assembly.
//
// It holds two primitives. [Vfork] is the bare system call, which returns
// twice; it exists to be tested and understood. [Spawn] is the path that
// everything else uses: the child runs a list of system calls, the Steps of a
// [Program], on registers alone, and never returns into Go.
//
// The package knows registers and the layout of a Program. What the system
// calls mean is the caller's business: see package vspawn.
package asm

// A Step is one system call. All words are plain numbers: an address among
// them must be of memory that the garbage collector neither moves nor frees
// while the Program runs (the heap does not move, stacks do).
type Step struct {
	Nr    uintptr    // system call number
	Args  [6]uintptr // arguments, unused ones ignored by the kernel
	Flags uintptr    // Tolerate, Expect
	Want  uintptr    // the only result that counts as success under Expect
	Out   uintptr    // address of a word that takes the result, or 0
}

// Flags of a Step.
const (
	// Tolerate goes on to the next Step when this one fails.
	Tolerate = 1 << 0
	// Expect makes any result but Want a failure, also one that is no error
	// to the kernel.
	Expect = 1 << 1
)

// A Program is what [Spawn] runs, and where the child leaves its word when it
// fails. It must lie on the heap, and belongs to one Spawn at a time.
//
// Create, Block and Restore are Steps too, so that the assembly knows nothing
// of signal sets or of the two forms of clone:
//
//	parent: Block, Create ─┬─ Restore, return
//	child:                 └─ Entered = 1, Steps…, and on failure Report, exit_group(127)
//
// A child that may not call exit_group tries exit, then SIGKILL.
type Program struct {
	Block   Step    // parent, before Create: blocks all signals
	Create  Step    // clone3 or clone, with CLONE_VM and, for a parent that is to wait, CLONE_VFORK
	Restore Step    // parent, after Create: puts the signal mask back
	Report  Step    // child, after a failure: Ignore where memory is shared
	Steps   uintptr // address of the first Step of an array whose last is execve

	Entered uintptr // 1 once the child has run, if it shares our memory
	At      uintptr // address of the Step that the child is in, or was last
	Failed  uintptr // address of the Step that failed, or 0
	Result  uintptr // what that Step returned: -errno, or an unwanted result

	// Room for what the Steps point to. The assembly does not know these.
	Mask  uint64     // the thread's signal mask, saved by Block
	Full  uint64     // the mask that Block sets
	Clone CloneArgs  // the argument of clone3
	Words [8]uintptr // results that a later Step reads through a pointer
	Pid   int32      // CLONE_PARENT_SETTID stores the child's pid here
	Pidfd int32      // CLONE_PIDFD stores the child's pidfd here
}

// CloneArgs is the kernel's struct clone_args, in its third version (Linux
// 5.7, include/uapi/linux/sched.h).
type CloneArgs struct {
	Flags      uint64
	Pidfd      uint64
	ChildTid   uint64
	ParentTid  uint64
	ExitSignal uint64
	Stack      uint64
	StackSize  uint64
	TLS        uint64
	SetTid     uint64
	SetTidSize uint64
	Cgroup     uint64
}

// Ignore is a system call number that no kernel has: a Step with it does
// nothing but answer ENOSYS.
const Ignore = 1<<31 - 1
