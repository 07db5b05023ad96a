package vspawn

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// switched tells whether a child of ours has its own memory: it is another
// program, or has ended. vfork does not: it lets the parent go on before the
// child's memory is switched (exec_mm_release and exec_mmap in fs/exec.c), and
// descriptors are closed before that too, on some kernels. What is behind it on
// all of them is that the flag PF_FORKNOEXEC goes. setpgid tells of that, and
// needs neither /proc nor a descriptor that someone could hold open: for a group
// that can't exist it answers EACCES if the child has exec'd, and else EPERM.
//
// A child in another session has EPERM always; there, or where a filter may
// have answered, it is /proc that tells. A child of which nothing can be learned
// counts as one that has not switched before it ends.
func switched(pid int) bool { return execdByGroup(pid) || programOrGone(pid) }

// execdByGroup is switched, by setpgid: true is sure.
func execdByGroup(pid int) bool {
	err := unix.Setpgid(pid, noGroup)
	// A filter would answer this as well, where the kernel says EPERM.
	return (err == unix.EACCES || err == unix.ESRCH) && unix.Setpgid(0, noGroup) == unix.EPERM
}

// noGroup is no process group's number: the kernel's pids end at 4,194,304.
const noGroup = 1 << 30

// programOrGone is switched, by waitid and /proc.
func programOrGone(pid int) bool {
	var info siginfo
	err := ignoringEINTR(func() error {
		return waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
	})
	if err == unix.ECHILD || err == nil && info.pid != 0 {
		return true
	}
	s, err := readStat(pid)
	if err != nil {
		return false
	}
	// In another PID namespace's /proc the number may be another process's.
	self, err := os.Readlink("/proc/self")
	const forkNoExec = 0x40 // PF_FORKNOEXEC, include/linux/sched.h
	return err == nil && self == strconv.Itoa(s.parent) && (s.dead || s.flags&forkNoExec == 0)
}

// A procStat is what is needed of a process: proc_pid_stat(5). One that is traced waitid
// does not tell of.
type procStat struct {
	parent, session int
	flags           uint64
	dead            bool // its first thread is a zombie
}

// readStat reads it. The number may be another's by then.
func readStat(pid int) (s procStat, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return s, err
	}
	// The name, in brackets, may hold brackets and spaces itself.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 7 {
		return s, errUnexpected
	}
	s.dead = fields[0][0] == 'Z' || fields[0][0] == 'X'
	if s.parent, err = strconv.Atoi(string(fields[1])); err != nil {
		return s, err
	}
	if s.session, err = strconv.Atoi(string(fields[3])); err != nil {
		return s, err
	}
	s.flags, err = strconv.ParseUint(string(fields[6]), 10, 64)
	return s, err
}
