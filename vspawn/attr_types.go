//go:build !plan9

package vspawn

import (
	"fmt"
	"time"
)

// A File gives the child a descriptor. What it copies has to stay open until
// Start returns: a number that is closed and used again meanwhile gives the
// child whatever has it then. A Parent that is no [FD], and closed before
// Start, is an error; so is a File without a source.
type File struct {
	Child  int        // its number in the child
	Parent Descriptor // the parent's, that it is a copy of: an *os.File, or a number as FD(1)

	// Path, in the place of Parent, is opened by the child (before Linux 5.16 not
	// its own files below /proc, unless it is root's child), in its own root and
	// directory and with its own credentials (open(2)).
	Path  string
	Flags int    // O_RDONLY and so on
	Mode  uint32 // of a file that is created
}

// A Range is a range of descriptors: from First to Last, both in it, or with NoEnd
// all from First on.
type Range struct {
	First int
	Last  int  // not below First; 0 with NoEnd
	NoEnd bool // the range has no Last
}

// An IOPriority is a class, and a level in it.
type IOPriority struct {
	Class int // IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE
	Level int // 0 to 7, 0 first
}

// A Scheduler is a scheduling policy with its parameters (sched(7)).
type Scheduler struct {
	Policy   int    // unix.SCHED_FIFO and so on
	Flags    uint64 // unix.SCHED_FLAG_RESET_ON_FORK and so on
	Priority int    // for SCHED_FIFO and SCHED_RR, 1 to 99

	// For SCHED_DEADLINE: Runtime in each Period, before Deadline.
	Runtime, Deadline, Period time.Duration
}

// A CapSet is a set of capabilities (capabilities(7)).
type CapSet uint64

// Caps is the set of the capabilities with the numbers given, such as
// unix.CAP_NET_BIND_SERVICE.
func Caps(list ...int) CapSet {
	var s CapSet
	for _, c := range list {
		s |= 1 << c
	}
	return s
}

// String gives the set as /proc/PID/status does.
func (s CapSet) String() string { return fmt.Sprintf("%#x", uint64(s)) }

// Capabilities are the three sets that capset(2) sets.
type Capabilities struct{ Permitted, Effective, Inheritable CapSet }

// Landlock is a ruleset (landlock(7)). What it handles is denied, except for
// what the rules allow.
type Landlock struct {
	FS    uint64 // unix.LANDLOCK_ACCESS_FS_…: what is handled
	Net   uint64 // unix.LANDLOCK_ACCESS_NET_…, Linux 6.7
	Scope uint64 // unix.LANDLOCK_SCOPE_…, Linux 6.12
	Paths []LandlockPath
	Ports []LandlockPort
}

// A LandlockPath allows access beneath a path.
type LandlockPath struct {
	Path  string
	Allow uint64
}

// A LandlockPort allows access to a TCP port.
type LandlockPort struct {
	Port  int
	Allow uint64
}

// BPF is an instruction of a classic BPF program (struct sock_filter).
type BPF struct {
	Op     uint16
	Jt, Jf uint8
	K      uint32
}

// A Namespace is one, or several, of another process.
type Namespace struct {
	FD  Descriptor // a file of /proc/PID/ns, or a pidfd (Linux 5.8)
	Pid int        // if not 0, the process itself, instead of FD (Linux 5.8); not for a child in a new PID namespace

	// Flags say which: CLONE_NEWNET and so on. 0, with a file of /proc/PID/ns, stands
	// for what that is when the Plan is compiled.
	Flags uintptr
}

// A Mount is one mount(2).
type Mount struct {
	Source, Target, Type string
	Flags                uintptr // unix.MS_BIND and so on
	Data                 string  // less than a page
}

// An Rlimit is one resource limit, in the resource's own unit; unix.RLIM_INFINITY is
// no limit.
type Rlimit struct {
	Resource int // unix.RLIMIT_STACK and so on
	Soft     uint64
	Hard     uint64
}

// An IDMap is one line of a user namespace's uid_map or gid_map: Size ids from
// Inside on are, outside the namespace, those from Outside on.
type IDMap struct {
	Inside  int
	Outside int
	Size    int
}

// A Syscall is a system call that the child makes between the attributes. It
// fails the start when the kernel answers an error.
//
// What an argument points to must be on the heap and stay there; the child
// shares the parent's memory until it execs. With a Syscall in the plan the
// child gets a full copy of the descriptor table first, since the plan cannot
// know which descriptors it uses. What a start opens for itself meanwhile lies at
// numbers that are neither in use nor an argument of a Syscall.
type Syscall struct {
	Before   string // the name, in the order of Attr, before whose place it is made; "" is before SignalMask
	Name     string // for Plan.String and errors
	Nr       uintptr
	Args     [6]uintptr
	Tolerate bool // go on when it fails
}

// Ptr returns a pointer to v, for the optional fields of Attr.
func Ptr[T any](v T) *T { return &v }
