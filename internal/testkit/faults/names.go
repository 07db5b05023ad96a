//go:build linux

package faults

import "golang.org/x/sys/unix"

// names are those of the system calls that a start makes.
var names = map[int]string{
	unix.SYS_CAPGET: "capget", unix.SYS_CAPSET: "capset", unix.SYS_CHDIR: "chdir", unix.SYS_CHROOT: "chroot",
	unix.SYS_CLONE: "clone", unix.SYS_CLONE3: "clone3", unix.SYS_CLOSE: "close", unix.SYS_CLOSE_RANGE: "close_range",
	unix.SYS_DUP3: "dup3", unix.SYS_EPOLL_CREATE1: "epoll_create1", unix.SYS_EPOLL_CTL: "epoll_ctl",
	unix.SYS_EXECVE: "execve", unix.SYS_EXECVEAT: "execveat", unix.SYS_EXIT: "exit", unix.SYS_EXIT_GROUP: "exit_group",
	unix.SYS_FCHDIR: "fchdir", unix.SYS_FCNTL: "fcntl", unix.SYS_FSTAT: "fstat", unix.SYS_FSTATFS: "fstatfs",
	unix.SYS_GETDENTS64: "getdents64", unix.SYS_GETEGID: "getegid", unix.SYS_GETEUID: "geteuid", unix.SYS_GETGID: "getgid",
	unix.SYS_GETPGID: "getpgid", unix.SYS_GETPID: "getpid", unix.SYS_GETPPID: "getppid", unix.SYS_GETPRIORITY: "getpriority",
	unix.SYS_GETRLIMIT: "getrlimit", unix.SYS_GETTID: "gettid", unix.SYS_GETUID: "getuid", unix.SYS_IOCTL: "ioctl",
	unix.SYS_IOPRIO_SET: "ioprio_set", unix.SYS_KEYCTL: "keyctl", unix.SYS_KILL: "kill",
	unix.SYS_LANDLOCK_ADD_RULE: "landlock_add_rule", unix.SYS_LANDLOCK_CREATE_RULESET: "landlock_create_ruleset",
	unix.SYS_LANDLOCK_RESTRICT_SELF: "landlock_restrict_self", unix.SYS_LSEEK: "lseek", unix.SYS_MEMFD_CREATE: "memfd_create",
	unix.SYS_MOUNT: "mount", unix.SYS_MPROTECT: "mprotect", unix.SYS_OPENAT: "openat",
	unix.SYS_PERSONALITY: "personality", unix.SYS_PIDFD_OPEN: "pidfd_open", unix.SYS_PIDFD_SEND_SIGNAL: "pidfd_send_signal",
	unix.SYS_PIPE2: "pipe2", unix.SYS_PIVOT_ROOT: "pivot_root", unix.SYS_PPOLL: "ppoll", unix.SYS_PRCTL: "prctl",
	unix.SYS_PREAD64: "pread64", unix.SYS_PRLIMIT64: "prlimit64", unix.SYS_PTRACE: "ptrace", unix.SYS_READ: "read",
	unix.SYS_READLINKAT: "readlinkat", unix.SYS_RT_SIGACTION: "rt_sigaction", unix.SYS_RT_SIGPROCMASK: "rt_sigprocmask",
	unix.SYS_SCHED_GETATTR: "sched_getattr", unix.SYS_SCHED_SETAFFINITY: "sched_setaffinity",
	unix.SYS_SCHED_SETATTR: "sched_setattr", unix.SYS_SCHED_YIELD: "sched_yield", unix.SYS_SECCOMP: "seccomp",
	unix.SYS_SETGROUPS: "setgroups", unix.SYS_SETHOSTNAME: "sethostname", unix.SYS_SETNS: "setns", unix.SYS_SETPGID: "setpgid",
	unix.SYS_SETPRIORITY: "setpriority", unix.SYS_SETRESGID: "setresgid", unix.SYS_SETRESUID: "setresuid", unix.SYS_SETSID: "setsid",
	unix.SYS_SHUTDOWN: "shutdown", unix.SYS_SOCKETPAIR: "socketpair", unix.SYS_STATX: "statx", unix.SYS_TKILL: "tkill",
	unix.SYS_UMASK: "umask", unix.SYS_UMOUNT2: "umount2", unix.SYS_UNAME: "uname", unix.SYS_UNSHARE: "unshare",
	unix.SYS_WAIT4: "wait4", unix.SYS_WAITID: "waitid", unix.SYS_WRITE: "write",
}
