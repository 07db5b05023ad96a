//go:build !plan9

package vspawn

import (
	"syscall"
	"time"
)

// Attr is everything that a child can be given. The zero value inherits: the
// environment, the directory, descriptors 0, 1 and 2, and so on. Every other
// descriptor is closed in the child, close-on-exec or not, and signals that
// the parent catches are reset to their default, as execve does.
//
// The attributes apply in this order, whatever that of the fields here; what is not
// named goes with what it belongs to. These are the names that Before of a [Syscall]
// takes, and docs/attributes.md has the reason for each place:
//
//	Cgroup, Cloneflags, UIDMap, DefaultSignals, Setsid, Pgid, TTY, Scheduler,
//	Nice, IOPriority, Affinity, CoreSched, TimerSlack, OOMScoreAdj, Personality,
//	NewKeyring, Setns, Unshareflags, Hostname, Mounts, PivotRoot, Chroot, Umask,
//	Files, Rlimits, Bounding, Securebits, KeepCaps, Groups, GID, UID, Dir,
//	Files.Path, NoNewPrivs, Landlock, Capabilities, Pdeathsig, Ptrace,
//	Rlimits.NOFILE, OOMScoreAdj.Raised, SignalMask, Seccomp
//
// Env and ExecFD are part of the exec behind all of them.
type Attr struct {
	// Env is the environment, as "key=value". Nothing is added, and of two with
	// one key both are passed on. nil takes the parent's as it is when the Plan is
	// compiled; an empty list, []string{}, gives an empty one.
	Env []string

	// Dir is the working directory. It is entered in the child's root, and
	// with its own credentials; a relative one is relative to the parent's, or
	// to "/" of a Chroot or PivotRoot. A relative path of the program is then
	// relative to it. DirFD is the same by a descriptor (fchdir(2)); one that
	// lies outside of Chroot or PivotRoot leaves the child outside its root.
	Dir   string
	DirFD Descriptor

	// ExecFD is a descriptor of the program itself, a file from memfd_create included
	// (execveat(2), Linux 3.19); the path is then empty. A script can't be started so: its
	// interpreter would find the descriptor closed. With TOMOYO before Linux 6.12 the
	// child's root needs a /dev/fd, or a /proc if root and mount namespace are the parent's
	// and there are no Syscalls and no Setns.
	ExecFD Descriptor

	// Files is the child's descriptor table. nil passes on 0, 1 and 2, those of
	// them that are open and not close-on-exec; any other value is the whole
	// table: an empty list, []File{}, closes all, and one with descriptor 3 alone
	// closes 0, 1 and 2. Sources may repeat and overlap the targets in any way.
	// The sources must stay open while Start runs.
	Files []File

	// InheritFiles passes on, besides Files, every descriptor that is not
	// close-on-exec, but for those in CloseRanges, which take nothing away that
	// Files gives. If that is nil they may take 0, 1 and 2. A
	// goroutine elsewhere that opens one without O_CLOEXEC does so at the child's
	// expense.
	InheritFiles bool
	CloseRanges  []Range

	// Setsid makes the child the leader of a new session (setsid(2)).
	Setsid bool

	// Pgid moves the child to that process group, 0 for one of its own
	// (setpgid(2)). In a new PID namespace (CLONE_NEWPID) it is 0.
	Pgid *int

	// TTY is the parent's descriptor of the terminal that ControllingTTY and
	// Foreground are about: an *os.File, or a number, as FD(0).
	TTY Descriptor

	// ControllingTTY makes TTY the controlling terminal of the child's
	// session (ioctl_tty(2), TIOCSCTTY). It needs Setsid.
	ControllingTTY bool

	// Foreground makes the child's process group the foreground group of TTY
	// (tcsetpgrp(3)).
	Foreground bool

	// Umask is the file mode creation mask.
	Umask *int

	// Rlimits are resource limits (setrlimit(2)), set while the child still
	// has the parent's privileges. RLIMIT_CPU, RLIMIT_RTTIME and RLIMIT_FSIZE may
	// end it, by a signal that dumps core, before it is the program: see Seccomp.
	//
	// The Go runtime raises the soft limit of open descriptors for its own
	// process; unless Rlimits has RLIMIT_NOFILE, the child gets the one that
	// the process was started with, as under os/exec.
	Rlimits []Rlimit

	// Nice is the nice value, -20 to 19 (setpriority(2)).
	Nice *int

	// IOPriority is the priority of reading and writing (ioprio_set(2)).
	IOPriority *IOPriority

	// Scheduler is the scheduling policy (sched_setattr(2)).
	Scheduler *Scheduler

	// Affinity are the CPUs that the child may run on (sched_setaffinity(2)).
	Affinity []int

	// CoreSched puts the child alone on a core as long as it runs: no thread
	// that is not its own, or its children's, runs beside it on the core's
	// other hardware threads (PR_SCHED_CORE, Linux 5.14 with CONFIG_SCHED_CORE).
	CoreSched bool

	// TimerSlack is by how much timers may be late (PR_SET_TIMERSLACK).
	TimerSlack time.Duration

	// OOMScoreAdj is how willingly the kernel kills the child when memory runs out, -1000 to 1000
	// (proc_pid_oom_score_adj(5)). It needs /proc. Up to its exec the child has the parent's value if
	// that is lower, since who kills it before kills the parent too. For a child of Ptrace or
	// StartStopped the parent writes it, at the exec.
	//
	// Before Linux 5.16, and for a parent that is not root, a child of another start's that dies by a
	// signal that dumps core just when this child opens its file takes the parent along. So it is when
	// the parent writes a UIDMap or GIDMap. See docs/design.md, Core dumps before 5.16.
	OOMScoreAdj *int

	// Personality is the execution domain (personality(2)): PER_LINUX or
	// PER_LINUX32, with flags such as ADDR_NO_RANDOMIZE.
	Personality *uintptr

	// NewKeyring gives the child a session keyring of its own (keyctl(2),
	// KEYCTL_JOIN_SESSION_KEYRING).
	NewKeyring bool

	// Chroot is the child's root directory (chroot(2)). Without Dir the child
	// starts in "/" of it.
	Chroot string

	// UID and GID are the real, effective and saved user and group.
	UID *int
	GID *int

	// Groups are the supplementary groups. An empty list, []int{}, drops them
	// all. So does nil with UID or GID set, unless KeepGroups says otherwise;
	// without them nil keeps the parent's. A new
	// user namespace takes either KeepGroups or AllowSetgroups.
	Groups     []int
	KeepGroups bool

	// Capabilities are the permitted, effective and inheritable sets, exactly (capset(2)). A change of
	// UID leaves them as they are asked for here. What execve makes of them is another matter
	// (capabilities(7)). A program that is not root keeps of the permitted and effective ones the
	// Ambient. To root execve gives all that the bounding and inheritable sets have, and makes it
	// effective: sets with less than that are refused, unless Bounding takes the rest away, or
	// NoNewPrivs or SECBIT_NOROOT, here or inherited, forbids it. What user an entered user namespace
	// (Setns) makes of the parent's is not known, and nothing refused for it.
	Capabilities *Capabilities

	// Ambient are the capabilities that the program keeps without being
	// privileged itself (PR_CAP_AMBIENT_RAISE, Linux 4.3). Without
	// Capabilities they are added to the parent's permitted, effective and
	// inheritable ones.
	Ambient CapSet

	// Bounding limits what the program and its children can ever gain
	// (PR_CAPBSET_DROP).
	Bounding *CapSet

	// Securebits say what being root means (PR_SET_SECUREBITS): SECBIT_NOROOT and
	// so on.
	Securebits *int

	// KeepCaps keeps the permitted capabilities over a change of UID
	// (PR_SET_KEEPCAPS). execve gives them up all the same, unless they are
	// Ambient.
	KeepCaps bool

	// NoNewPrivs takes from execve the power to grant privileges
	// (PR_SET_NO_NEW_PRIVS, Linux 3.5).
	NoNewPrivs bool

	// Landlock restricts the child to what its rules allow (landlock(7),
	// Linux 5.13). It needs NoNewPrivs or CAP_SYS_ADMIN.
	Landlock *Landlock

	// Seccomp is a filter of system calls (seccomp(2)). It is the last thing
	// before execve, or execveat, which it has to let pass. It needs
	// NoNewPrivs or CAP_SYS_ADMIN.
	//
	// A filter that kills the child before it is the program does not harm the
	// parent. On kernels before 5.16 that, and any other end by a signal that
	// dumps core, takes care, and some moments remain in which it does: see
	// docs/design.md, Core dumps before 5.16.
	Seccomp []BPF

	// SignalMask is the set of blocked signals when the program starts. nil
	// passes on that of the thread that calls Start, which Go leaves empty; an
	// empty list, []syscall.Signal{}, blocks none, whatever that thread's is.
	SignalMask []syscall.Signal

	// DefaultSignals and IgnoreSignals set dispositions. Others stay as
	// execve leaves them: an ignored signal stays ignored, a caught one
	// becomes default.
	DefaultSignals []syscall.Signal
	IgnoreSignals  []syscall.Signal

	// Pdeathsig is sent to the child when the parent dies (prctl(2), PR_SET_PDEATHSIG). The kernel
	// means the parent's thread; such a child is therefore started from a thread that lives as long as
	// the process, so that it does not die with some goroutine's (golang/go#27505).
	//
	// But a goroutine that is locked to its thread (runtime.LockOSThread) may have changed that
	// thread, its namespaces, filters or priorities, and its child is to have the same: it is started
	// from that very thread, and gets the signal when the thread ends, be it before the process. So is
	// one with Ptrace.
	//
	// A child whose parent is dead before it could ask for the signal ends. In a
	// new PID namespace, where the parent has no number, it asks its parent by a
	// socket whether it lives, and waits for the answer. The kernel clears the
	// signal when the program is set-user-ID or has capabilities.
	Pdeathsig syscall.Signal

	// DieWithParent has the child killed (SIGKILL) when this process ends or execs, whichever thread has started it: by
	// CLONE_PIDFD_AUTOKILL (Linux 7.1) with NoNewPrivs (without Syscalls, or inherited) or CAP_SYS_ADMIN, where Wait has
	// no Rusage and no other wait sees the child; else by Pdeathsig, and not from a locked goroutine: docs/design.md.
	DieWithParent bool

	// Cloneflags are the new namespaces, CLONE_NEWPID and its like
	// (namespaces(7)). CLONE_UNTRACED, CLONE_PTRACE, CLONE_SYSVSEM and CLONE_IO
	// may be among them (clone(2)).
	Cloneflags uintptr

	// Setns are existing namespaces that the child enters (setns(2)). One that
	// Hostname, Mounts or PivotRoot is to change must not be the parent's own;
	// that is seen to when the child is started, and needs /proc.
	Setns []Namespace

	// Unshareflags are new namespaces that the child makes itself, after
	// Setns (unshare(2)). Cloneflags are the better way, except beside Setns;
	// CLONE_NEWPID here is for the child's children.
	Unshareflags uintptr

	// UIDMap and GIDMap are written for a child in a new user namespace
	// (CLONE_NEWUSER) by the parent while the child waits, before any other
	// attribute applies (user_namespaces(7)). setgroups(2) is denied in the
	// namespace unless AllowSetgroups is set. If the parent dies meanwhile, the
	// child ends.
	UIDMap         []IDMap
	GIDMap         []IDMap
	AllowSetgroups bool

	// Cgroup is a descriptor of a cgroup v2 directory that the child is born in (CLONE_INTO_CGROUP,
	// Linux 5.7). [Process.KillTree] kills all in it; the Process keeps a copy of the descriptor for that.
	//
	// If memory runs out there while memory.oom.group is 1, there or above, the kernel kills all in
	// it, and with a child that is not yet the program its parent, which need not be in it. A parent
	// whose oom_score_adj is -1000 is spared, and its child with it, up to where OOMScoreAdj raises
	// the child's: the exec itself is left. So either memory.oom.group is set to 1 only when Start has
	// returned; or such a parent leaves OOMScoreAdj out, and raises the child's by
	// /proc/PID/oom_score_adj then.
	//
	// A child of vfork is none that the kernel chooses when memory runs out. One of Ptrace or
	// StartStopped may be chosen, with oom.group or without, and its parent dies with it: that is not
	// to be born where memory may run out, unless the parent is at -1000, which is spared.
	Cgroup Descriptor

	// PrivateMounts keeps mounts in the child's namespace from the parent's,
	// and the parent's from the child's (MS_REC|MS_PRIVATE on "/"); Mounts
	// and PivotRoot imply it. All three need CLONE_NEWNS, in Cloneflags or
	// Unshareflags, or a mount namespace in Setns.
	PrivateMounts bool

	// Mounts are mounted in their order (mount(2)).
	Mounts []Mount

	// PivotRoot is a mount point that becomes the root; the old one is
	// unmounted (pivot_root(2)).
	PivotRoot string

	// Hostname is the name in a new UTS namespace, CLONE_NEWUTS in Cloneflags or
	// Unshareflags, or in one that Setns enters.
	Hostname string

	// Ptrace has the thread that calls Start trace the child (ptrace(2), PTRACE_TRACEME), which stops
	// by SIGTRAP before its first instruction. The caller must have called runtime.LockOSThread.
	// Signals that came before are pending then, and the tracer's options are none.
	//
	// A program that is traced when it is executed gets nothing from its set-user-ID and set-group-ID
	// bits and its file capabilities, unless the child has CAP_SYS_PTRACE (execve(2)).
	Ptrace bool

	// StartStopped stops the child by SIGSTOP before its first instruction, and with no tracer.
	// SIGCONT lets it go on.
	//
	// On its way there the child is traced by the thread that starts it. So it can't be started by who
	// is traced with its children (strace -f), nor where ptrace is forbidden. And set-user-ID and
	// set-group-ID bits and file capabilities of the program are taken away, as with Ptrace: a program
	// that needs them would run without, when SIGCONT comes. A signal that comes at the very moment
	// when the tracer has left may end the child before it is stopped.
	StartStopped bool

	// Syscalls are the caller's own, each made at its place among the others.
	Syscalls []Syscall
}
