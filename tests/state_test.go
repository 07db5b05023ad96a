//go:build linux

package tests

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// A state is what a process knows of itself.
type state struct {
	Argv0 string
	Args  []string
	Env   []string
	Dir   string // "" if it can't be had
	Cwd   inode
	Root  inode

	Files map[int]inode

	Pid, Tgid, Ppid, Tid int
	Pgid, Sid            int
	Second               thread
	Tasks                []int // of a Go program that reports itself
	Foreground           int   // the terminal's foreground group; 0 without a controlling terminal

	UID, GID  [3]int // real, effective, saved
	Groups    []int
	Umask     int
	Limits    []unix.Rlimit // by resource
	Mask      uint64
	Pending   uint64
	Ignored   string // signals, as in /proc/PID/status
	Caught    string
	Pdeathsig int

	Scheduling  scheduling
	OOMScoreAdj string
	Personality int
	Keyring     int // the session's
	Privileges  privileges

	Lists      bool // a directory may be read
	Hostname   string
	Mounts     []string // as in /proc/PID/mountinfo
	Namespaces map[string]string
	Cgroup     string
	UIDMap     string
	GIDMap     string
	Setgroups  string

	Scan   int `json:"-"` // how far to look for descriptors; 0 is scanned
	ProcFD int `json:"-"` // a descriptor of the directory /proc, where that is not to be had by its path
}

// proc is a path below /proc, as arguments of openat and its like.
func (s *state) proc(path string) (fd int, name string) {
	if s.ProcFD != 0 {
		return s.ProcFD, path
	}
	return unix.AT_FDCWD, "/proc/" + path
}

// A thread is what a thread other than the main one is told.
type thread struct{ Pid, Ppid, Tid int }

type inode struct{ Dev, Ino uint64 }

// scheduling is of a thread.
type scheduling struct {
	Nice, IOPriority int
	Attr             unix.SchedAttr
	Affinity         unix.CPUSet
	Cookie           uint64 // of core scheduling
	TimerSlack       int
}

// privileges are of a thread.
type privileges struct {
	// In hexadecimal, as /proc/PID/status has them.
	Inheritable, Permitted, Effective, Bounding, Ambient string

	Securebits, NoNewPrivs int
	Seccomp                string // 2 is a filter
}

// A batch gathers system calls, to do them together.
type batch struct {
	do    func(...*tiny.Call) error
	calls []*tiny.Call
}

func (b *batch) call(nr int, args ...any) *tiny.Call {
	c := &tiny.Call{Nr: nr, Args: args}
	b.calls = append(b.calls, c)
	return c
}

func (b *batch) run() {
	if err := b.do(b.calls...); err != nil {
		panic(err)
	}
	b.calls = nil
}

// inode asks for that of an open descriptor, or of a path.
func (b *batch) inode(fd int, path string) func() inode {
	st := new(unix.Statx_t)
	const emptyPath = unix.AT_EMPTY_PATH // which counts for an empty path only
	c := b.call(unix.SYS_STATX, fd, path, emptyPath, unix.STATX_INO, bytesOf(st))
	return func() inode {
		if c.Err() != nil {
			return inode{}
		}
		return inode{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}
	}
}

// read asks by do, which makes system calls of the process that s is to tell of.
func (s *state) read(do func(...*tiny.Call) error) {
	b := &batch{do: do}
	s.readProcess(b)
	s.readFiles(b)
}

// readProcess asks for all that is not a file.
func (s *state) readProcess(b *batch) {
	var groups [256]uint32
	var dir [unix.PathMax]byte
	var ids [2][3]uint32
	var uts unix.Utsname
	var sig int32
	s.Limits = make([]unix.Rlimit, unix.RLIMIT_RTTIME+1)

	pid, ppid, tid := b.call(unix.SYS_GETPID), b.call(unix.SYS_GETPPID), b.call(unix.SYS_GETTID)
	pgid, sid := b.call(unix.SYS_GETPGID, 0), b.call(unix.SYS_GETSID, 0)
	b.call(unix.SYS_GETRESUID, bytesOf(&ids[0][0]), bytesOf(&ids[0][1]), bytesOf(&ids[0][2]))
	b.call(unix.SYS_GETRESGID, bytesOf(&ids[1][0]), bytesOf(&ids[1][1]), bytesOf(&ids[1][2]))
	inGroups := b.call(unix.SYS_GETGROUPS, len(groups), bytesOf(&groups))
	umask := b.call(unix.SYS_UMASK, 0)
	for r := range s.Limits {
		b.call(unix.SYS_PRLIMIT64, 0, r, 0, bytesOf(&s.Limits[r]))
	}
	b.call(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, bytesOf(&s.Mask), 8)
	b.call(unix.SYS_RT_SIGPENDING, bytesOf(&s.Pending), 8)
	b.call(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, bytesOf(&sig))
	const whoProcess = 1
	nice, ioPriority := b.call(unix.SYS_GETPRIORITY, unix.PRIO_PROCESS, 0), b.call(unix.SYS_IOPRIO_GET, whoProcess, 0)
	b.call(unix.SYS_SCHED_GETATTR, 0, bytesOf(&s.Scheduling.Attr), unix.SizeofSchedAttr, 0)
	b.call(unix.SYS_SCHED_GETAFFINITY, 0, len(s.Scheduling.Affinity)*8, bytesOf(&s.Scheduling.Affinity))
	b.call(unix.SYS_PRCTL, unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_GET, 0, unix.PR_SCHED_CORE_SCOPE_THREAD,
		bytesOf(&s.Scheduling.Cookie))
	slack := b.call(unix.SYS_PRCTL, unix.PR_GET_TIMERSLACK)
	const ask = 0xffffffff
	personality := b.call(unix.SYS_PERSONALITY, ask)
	securebits := b.call(unix.SYS_PRCTL, unix.PR_GET_SECUREBITS)
	noNewPrivs := b.call(unix.SYS_PRCTL, unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	keyring := b.call(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, unix.KEY_SPEC_SESSION_KEYRING, 0)
	b.call(unix.SYS_UNAME, bytesOf(&uts))
	getcwd := b.call(unix.SYS_GETCWD, dir[:], len(dir))
	cwd, root := b.inode(unix.AT_FDCWD, "."), b.inode(unix.AT_FDCWD, "/")
	b.run()

	s.Pid, s.Ppid, s.Tid, s.Pgid, s.Sid = pid.Result, ppid.Result, tid.Result, pgid.Result, sid.Result
	for i := range 3 {
		s.UID[i], s.GID[i] = int(ids[0][i]), int(ids[1][i])
	}
	for i := range max(inGroups.Result, 0) {
		s.Groups = append(s.Groups, int(groups[i]))
	}
	s.Umask, s.Pdeathsig = umask.Result, int(sig)
	s.Scheduling.Nice = 20 - nice.Result // the call itself never answers a negative number
	s.Scheduling.IOPriority, s.Scheduling.TimerSlack = ioPriority.Result, slack.Result
	s.Personality, s.Keyring = personality.Result, keyring.Result
	s.Privileges.Securebits, s.Privileges.NoNewPrivs = securebits.Result, noNewPrivs.Result
	s.Hostname = unix.ByteSliceToString(uts.Nodename[:])
	if getcwd.Err() == nil {
		s.Dir = unix.ByteSliceToString(dir[:])
	}
	s.Cwd, s.Root = cwd(), root()
}

// readFiles asks for the descriptors, and for what is told by files. It begins with
// the table of descriptors as it was given, before anything is opened.
func (s *state) readFiles(b *batch) {
	var fds []*tiny.Call
	scan := s.Scan
	if scan == 0 {
		scan = scanned
	}
	for fd := range scan { // ppoll would not tell of those of O_PATH
		if fds = append(fds, b.call(unix.SYS_FCNTL, fd, unix.F_GETFD)); fd%512 == 511 {
			b.run()
		}
	}
	b.call(unix.SYS_UMASK, s.Umask)
	top := b.call(unix.SYS_OPENAT, unix.AT_FDCWD, "/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	tty := b.call(unix.SYS_OPENAT, unix.AT_FDCWD, "/dev/tty", unix.O_RDWR|unix.O_CLOEXEC)
	var files []*tiny.Call
	for _, f := range reportFiles {
		fd, name := s.proc("thread-self/" + f.name)
		files = append(files, b.call(unix.SYS_OPENAT, fd, name, unix.O_RDONLY|unix.O_CLOEXEC))
	}
	b.run()

	if s.Lists = top.Err() == nil; s.Lists {
		b.call(unix.SYS_CLOSE, top.Result)
	}
	var foreground int32
	if tty.Err() == nil {
		b.call(unix.SYS_IOCTL, tty.Result, unix.TIOCGPGRP, bytesOf(&foreground))
		b.call(unix.SYS_CLOSE, tty.Result)
	}
	buffers := make([][]byte, len(files))
	reads := make([]*tiny.Call, len(files))
	for i, f := range files {
		if f.Err() == nil {
			buffers[i] = make([]byte, reportFiles[i].size)
			reads[i] = b.call(unix.SYS_READ, f.Result, buffers[i], len(buffers[i]))
			b.call(unix.SYS_CLOSE, f.Result)
		}
	}
	inodes := map[int]func() inode{}
	for i, fd := range fds {
		if fd.Err() == nil {
			inodes[i] = b.inode(i, "")
		}
	}
	links := map[string][]byte{}
	for _, name := range namespaces {
		link := make([]byte, 64)
		links[name] = link
		fd, file := s.proc("self/ns/" + name)
		b.call(unix.SYS_READLINKAT, fd, file, link, len(link))
	}
	b.run()

	s.Foreground = int(foreground)
	s.Files = map[int]inode{}
	for fd, f := range inodes {
		s.Files[fd] = f()
	}
	s.Namespaces = map[string]string{}
	for name, link := range links {
		if link[0] != 0 {
			s.Namespaces[name] = unix.ByteSliceToString(link)
		}
	}
	for i, f := range reportFiles {
		if reads[i] == nil || reads[i].Err() != nil {
			continue
		}
		n := reads[i].Result
		if n == f.size {
			panic(f.name + " is longer than expected")
		}
		f.take(s, strings.TrimRight(string(buffers[i][:n]), "\x00"))
	}
}

// namespaces are the kinds of them, as in /proc/PID/ns.
var namespaces = []string{"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"}

// reportFiles are files of /proc/thread-self, how long they may be, and what is
// taken from them.
var reportFiles = []struct {
	name string
	size int
	take func(s *state, text string)
}{
	{"cmdline", 4096, func(s *state, text string) {
		args := strings.Split(text, "\x00")
		s.Argv0, s.Args = args[0], args[1:]
	}},
	// As it came; os.Environ leaves out what is there twice.
	{"environ", 8192, func(s *state, text string) {
		if text != "" {
			s.Env = strings.Split(text, "\x00")
		}
	}},
	{"status", 4096, func(s *state, text string) {
		field := func(name string) string { return fieldOf(text, name) }
		s.Tgid, _ = strconv.Atoi(field("Tgid"))
		s.Ignored, s.Caught = field("SigIgn"), field("SigCgt")
		p := &s.Privileges
		p.Inheritable, p.Permitted, p.Effective = field("CapInh"), field("CapPrm"), field("CapEff")
		p.Bounding, p.Ambient, p.Seccomp = field("CapBnd"), field("CapAmb"), field("Seccomp")
	}},
	{"mountinfo", 16384, func(s *state, text string) { s.Mounts = strings.Split(text, "\n") }},
	{"oom_score_adj", 64, func(s *state, text string) { s.OOMScoreAdj = even(text) }},
	{"cgroup", 1024, func(s *state, text string) { s.Cgroup = even(text) }},
	{"uid_map", 512, func(s *state, text string) { s.UIDMap = even(text) }},
	{"gid_map", 512, func(s *state, text string) { s.GIDMap = even(text) }},
	{"setgroups", 64, func(s *state, text string) { s.Setgroups = even(text) }},
}
