package vspawn

import "golang.org/x/sys/unix"

// A call is a system call: the name is for Plan.String and for errors.
type call struct {
	name string
	nr   uintptr
}

// Those that a child makes.
var (
	sysCapset                = call{"capset", unix.SYS_CAPSET}
	sysChdir                 = call{"chdir", unix.SYS_CHDIR}
	sysChroot                = call{"chroot", unix.SYS_CHROOT}
	sysClone3                = call{"clone3", unix.SYS_CLONE3}
	sysClose                 = call{"close", unix.SYS_CLOSE}
	sysCloseRange            = call{"close_range", unix.SYS_CLOSE_RANGE}
	sysDup3                  = call{"dup3", unix.SYS_DUP3}
	sysExecve                = call{"execve", unix.SYS_EXECVE}
	sysExecveat              = call{"execveat", unix.SYS_EXECVEAT}
	sysExitGroup             = call{"exit_group", unix.SYS_EXIT_GROUP}
	sysFchdir                = call{"fchdir", unix.SYS_FCHDIR}
	sysFcntl                 = call{"fcntl", unix.SYS_FCNTL}
	sysGetpgid               = call{"getpgid", unix.SYS_GETPGID}
	sysGetpid                = call{"getpid", unix.SYS_GETPID}
	sysGetppid               = call{"getppid", unix.SYS_GETPPID}
	sysIoctl                 = call{"ioctl", unix.SYS_IOCTL}
	sysIoprioSet             = call{"ioprio_set", unix.SYS_IOPRIO_SET}
	sysKeyctl                = call{"keyctl", unix.SYS_KEYCTL}
	sysLandlockAddRule       = call{"landlock_add_rule", unix.SYS_LANDLOCK_ADD_RULE}
	sysLandlockCreateRuleset = call{"landlock_create_ruleset", unix.SYS_LANDLOCK_CREATE_RULESET}
	sysLandlockRestrictSelf  = call{"landlock_restrict_self", unix.SYS_LANDLOCK_RESTRICT_SELF}
	sysMount                 = call{"mount", unix.SYS_MOUNT}
	sysOpenat                = call{"openat", unix.SYS_OPENAT}
	sysPersonality           = call{"personality", unix.SYS_PERSONALITY}
	sysPidfdOpen             = call{"pidfd_open", unix.SYS_PIDFD_OPEN}
	sysPidfdSendSignal       = call{"pidfd_send_signal", unix.SYS_PIDFD_SEND_SIGNAL}
	sysPivotRoot             = call{"pivot_root", unix.SYS_PIVOT_ROOT}
	sysPpoll                 = call{"ppoll", unix.SYS_PPOLL}
	sysPrctl                 = call{"prctl", unix.SYS_PRCTL}
	sysPrlimit64             = call{"prlimit64", unix.SYS_PRLIMIT64}
	sysPtrace                = call{"ptrace", unix.SYS_PTRACE}
	sysRead                  = call{"read", unix.SYS_READ}
	sysRtSigaction           = call{"rt_sigaction", unix.SYS_RT_SIGACTION}
	sysRtSigprocmask         = call{"rt_sigprocmask", unix.SYS_RT_SIGPROCMASK}
	sysSchedSetaffinity      = call{"sched_setaffinity", unix.SYS_SCHED_SETAFFINITY}
	sysSchedSetattr          = call{"sched_setattr", unix.SYS_SCHED_SETATTR}
	sysSeccomp               = call{"seccomp", unix.SYS_SECCOMP}
	sysSetgroups             = call{"setgroups", nrSetgroups}
	sysSethostname           = call{"sethostname", unix.SYS_SETHOSTNAME}
	sysSetns                 = call{"setns", unix.SYS_SETNS}
	sysSetpgid               = call{"setpgid", unix.SYS_SETPGID}
	sysSetpriority           = call{"setpriority", unix.SYS_SETPRIORITY}
	sysSetresgid             = call{"setresgid", nrSetresgid}
	sysSetresuid             = call{"setresuid", nrSetresuid}
	sysSetsid                = call{"setsid", unix.SYS_SETSID}
	sysTkill                 = call{"tkill", unix.SYS_TKILL}
	sysUmask                 = call{"umask", unix.SYS_UMASK}
	sysUmount2               = call{"umount2", unix.SYS_UMOUNT2}
	sysUnshare               = call{"unshare", unix.SYS_UNSHARE}
	sysWrite                 = call{"write", unix.SYS_WRITE}
)
