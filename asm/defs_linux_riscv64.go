package asm

//lint:file-ignore U1000 the assembly has them from go_asm.h

// Numbers from the kernel's headers: the architecture's system calls, and the
// flags of a plain vfork (include/uapi/linux/sched.h, asm/signal.h).
const (
	sysExit      = 93
	sysExitGroup = 94
	sysTgkill    = 131
	sysGetpid    = 172
	sysClone     = 220

	vforkFlags = 0x00000100 | 0x00004000 | 17 // CLONE_VM | CLONE_VFORK | SIGCHLD
	sigkill    = 9
)
