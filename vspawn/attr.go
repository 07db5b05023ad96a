package vspawn

import (
	"os"
	"syscall"
)

// Attr is everything that a child can be given. The zero value inherits: the
// environment, the directory, descriptors 0, 1 and 2, and so on. Every other
// descriptor is closed in the child, close-on-exec or not, and signals that
// the parent catches are reset to their default, as execve does.
//
// The order in which the attributes apply is that of the table in
// docs/attributes.md, whatever the order of the fields here.
type Attr struct {
	// Env is the environment, as "key=value". nil takes the parent's as it
	// is when the Plan is compiled; an empty list gives an empty one.
	Env []string

	// Dir is the working directory. It is entered after Chroot, and with the
	// child's own credentials. A relative path of the program is then
	// relative to it.
	Dir string

	// Files is the child's descriptor table. nil passes on 0, 1 and 2; any
	// other value, an empty one too, is the whole table. Sources may repeat
	// and overlap the targets in any way. The sources must stay open while
	// Start runs.
	Files []File

	// Setsid makes the child the leader of a new session (setsid(2)).
	Setsid bool

	// Pgid moves the child to that process group, 0 for one of its own
	// (setpgid(2)).
	Pgid *int

	// TTY is the parent's descriptor of the terminal that ControllingTTY and
	// Foreground are about.
	TTY *int

	// ControllingTTY makes TTY the controlling terminal of the child's
	// session (ioctl_tty(2), TIOCSCTTY). It needs Setsid.
	ControllingTTY bool

	// Foreground makes the child's process group the foreground group of TTY
	// (tcsetpgrp(3)).
	Foreground bool

	// Umask is the file mode creation mask.
	Umask *int

	// Rlimits are resource limits (setrlimit(2)), set while the child still
	// has the parent's privileges.
	//
	// The Go runtime raises the soft limit of open descriptors for its own
	// process; unless Rlimits has RLIMIT_NOFILE, the child gets the one that
	// the process was started with, as under os/exec.
	Rlimits []Rlimit

	// Chroot is the child's root directory (chroot(2)). Without Dir the child
	// starts in "/" of it.
	Chroot string

	// UID and GID are the real, effective and saved user and group.
	UID *int
	GID *int

	// Groups are the supplementary groups. With UID or GID set, nil drops
	// them all, unless KeepGroups says otherwise; alone, nil keeps them.
	Groups     []int
	KeepGroups bool

	// SignalMask is the set of blocked signals when the program starts. nil
	// passes on that of the thread that calls Start, which Go leaves empty.
	SignalMask []syscall.Signal

	// DefaultSignals and IgnoreSignals set dispositions. Others stay as
	// execve leaves them: an ignored signal stays ignored, a caught one
	// becomes default.
	DefaultSignals []syscall.Signal
	IgnoreSignals  []syscall.Signal

	// Pdeathsig is sent to the child when the parent dies (prctl(2),
	// PR_SET_PDEATHSIG). The kernel means the parent's thread; such a child
	// is therefore started from a thread that lives as long as the process,
	// so that it does not die with some goroutine's (golang/go#27505). The
	// kernel clears it when the program is set-user-ID or has capabilities.
	Pdeathsig syscall.Signal

	// Cloneflags are the new namespaces, CLONE_NEWPID and its like
	// (namespaces(7)).
	Cloneflags uintptr

	// UIDMap and GIDMap are written for a child in a new user namespace
	// (CLONE_NEWUSER) by the parent while the child waits, before any other
	// attribute applies (user_namespaces(7)). setgroups(2) is denied in the
	// namespace unless AllowSetgroups is set.
	UIDMap         []IDMap
	GIDMap         []IDMap
	AllowSetgroups bool

	// Cgroup is a descriptor of a cgroup v2 directory that the child is born
	// in (CLONE_INTO_CGROUP, Linux 5.7).
	Cgroup *int

	// Syscalls are the caller's own, each made at its place among the others.
	Syscalls []Syscall
}

// A File gives the child a descriptor.
type File struct {
	Child  int      // its number in the child
	Parent int      // the parent's descriptor that it is a copy of
	File   *os.File // if not nil, taken instead of Parent, and kept from the collector
}

// An Rlimit is one resource limit, in the resource's own unit; ^uint64(0) is
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
// know which descriptors it uses.
type Syscall struct {
	Before   string // the Attr field before whose place it is made; "" is last of all, before the signal mask
	Name     string // for Plan.String and errors
	Nr       uintptr
	Args     [6]uintptr
	Tolerate bool // go on when it fails
}

// Ptr returns a pointer to v, for the optional fields of Attr.
func Ptr[T any](v T) *T { return &v }
