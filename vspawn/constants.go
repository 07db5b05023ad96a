package vspawn

// What the kernel's headers name and package unix does not, by the kernel's names.
// The numbers of all other fields of Attr have theirs in package unix.

// Classes of [IOPriority] (ioprio_set(2), linux/ioprio.h).
const (
	IOPRIO_CLASS_NONE = 0 // as the nice value says
	IOPRIO_CLASS_RT   = 1 // before all others; needs CAP_SYS_ADMIN or CAP_SYS_NICE
	IOPRIO_CLASS_BE   = 2 // best effort, what a process has
	IOPRIO_CLASS_IDLE = 3 // when no one else asks; has no levels
)

// Bits of [Attr].Securebits (capabilities(7), linux/securebits.h).
const (
	SECBIT_NOROOT                      = 1 << 0 // execve gives root no capabilities
	SECBIT_NOROOT_LOCKED               = 1 << 1
	SECBIT_NO_SETUID_FIXUP             = 1 << 2 // a change of UID leaves the capabilities as they are
	SECBIT_NO_SETUID_FIXUP_LOCKED      = 1 << 3
	SECBIT_KEEP_CAPS                   = 1 << 4 // what Attr.KeepCaps sets
	SECBIT_KEEP_CAPS_LOCKED            = 1 << 5
	SECBIT_NO_CAP_AMBIENT_RAISE        = 1 << 6 // Linux 4.3
	SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED = 1 << 7
)

// Values and flags of [Attr].Personality (personality(2), linux/personality.h).
const (
	PER_LINUX   = 0 // the usual one
	PER_LINUX32 = 8 // uname(2) tells of a 32-bit machine

	UNAME26            = 0x0020000 // uname(2) gives 2.6 as the kernel's version
	ADDR_NO_RANDOMIZE  = 0x0040000 // no address space layout randomization
	FDPIC_FUNCPTRS     = 0x0080000 // signal handlers are FDPIC descriptors
	MMAP_PAGE_ZERO     = 0x0100000 // page 0 is mapped
	ADDR_COMPAT_LAYOUT = 0x0200000 // mmap(2) goes upwards
	READ_IMPLIES_EXEC  = 0x0400000 // memory that can be read can be executed
	ADDR_LIMIT_32BIT   = 0x0800000
	SHORT_INODE        = 0x1000000
	WHOLE_SECONDS      = 0x2000000
	STICKY_TIMEOUTS    = 0x4000000 // select(2) leaves its timeout as it is
	ADDR_LIMIT_3GB     = 0x8000000
)
