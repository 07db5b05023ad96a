//go:build linux

package tests

import (
	"encoding/json"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// A state is what a process knows of itself.
type state struct {
	Argv0 string
	Args  []string
	Env   []string
	Dir   string // "" if it can't be had
	Root  inode

	Files map[int]inode

	Pid, Tgid, Ppid, Tid int
	Pgid, Sid            int
	Second               thread
	Tasks                []int
	Foreground           int // the terminal's foreground group; 0 without a controlling terminal

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

	Hostname   string
	Mounts     []string // as in /proc/PID/mountinfo
	Namespaces map[string]string
	Cgroup     string
	UIDMap     string
	GIDMap     string
	Setgroups  string
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

// reportFD is the descriptor by which a child reports: one that no test maps.
const reportFD = 99

// toStandardOutput, as an argument, makes it report there.
const toStandardOutput = "to standard output"

// scanned is how far a child looks for descriptors. Without /proc, which it
// need not have, there is nothing to list them.
const scanned = 1024

// reportHelper reports what a Go program sees, with a second thread.
var reportHelper = helper.New("report", func(args []string) int {
	var s state
	runtime.LockOSThread()
	s.read(tiny.Local)
	for fd := range s.Files {
		if ofRuntime(fd) {
			delete(s.Files, fd)
		}
	}
	onSecondThread(func() { s.Second = thread{unix.Getpid(), unix.Getppid(), unix.Gettid()} })
	if tasks, err := os.ReadDir("/proc/self/task"); err == nil {
		for _, t := range tasks {
			tid, _ := strconv.Atoi(t.Name())
			s.Tasks = append(s.Tasks, tid)
		}
	}
	s.Args = args
	out, err := json.Marshal(&s)
	if err != nil {
		panic(err)
	}
	to := reportFD
	if len(args) == 1 && args[0] == toStandardOutput {
		to = 1
	}
	if _, err = unix.Write(to, out); err != nil {
		panic(err)
	}
	return 0
})

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
	b.call(unix.SYS_PRCTL, unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_GET, 0, unix.PR_SCHED_CORE_SCOPE_THREAD, bytesOf(&s.Scheduling.Cookie))
	slack := b.call(unix.SYS_PRCTL, unix.PR_GET_TIMERSLACK)
	const ask = 0xffffffff
	personality := b.call(unix.SYS_PERSONALITY, ask)
	securebits := b.call(unix.SYS_PRCTL, unix.PR_GET_SECUREBITS)
	noNewPrivs := b.call(unix.SYS_PRCTL, unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	keyring := b.call(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, unix.KEY_SPEC_SESSION_KEYRING, 0)
	b.call(unix.SYS_UNAME, bytesOf(&uts))
	getcwd := b.call(unix.SYS_GETCWD, dir[:], len(dir))
	root := b.inode(unix.AT_FDCWD, "/")
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
	s.Root = root()

	// The table of descriptors as it was given, before anything is opened.
	polled := make([]unix.PollFd, min(scanned, s.Limits[unix.RLIMIT_NOFILE].Cur))
	for i := range polled {
		polled[i].Fd = int32(i)
	}
	b.call(unix.SYS_UMASK, s.Umask)
	b.call(unix.SYS_PPOLL, bytesOfAll(polled), len(polled), bytesOf(new(unix.Timespec)), 0, 0)
	tty := b.call(unix.SYS_OPENAT, unix.AT_FDCWD, "/dev/tty", unix.O_RDWR|unix.O_CLOEXEC)
	var files []*tiny.Call
	for _, f := range reportFiles {
		files = append(files, b.call(unix.SYS_OPENAT, unix.AT_FDCWD, "/proc/thread-self/"+f.name, unix.O_RDONLY|unix.O_CLOEXEC))
	}
	b.run()

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
	for i, p := range polled {
		if p.Revents&unix.POLLNVAL == 0 {
			inodes[i] = b.inode(i, "")
		}
	}
	links := map[string][]byte{}
	for _, name := range namespaces {
		link := make([]byte, 64)
		links[name] = link
		b.call(unix.SYS_READLINKAT, unix.AT_FDCWD, "/proc/self/ns/"+name, link, len(link))
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

// statusField is a line of /proc/PID/status, or "".
func statusField(pid, name string) string {
	return fieldOf(text("/proc/"+pid+"/status"), name)
}

func fieldOf(status, name string) string {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// ofRuntime tells whether the Go runtime has opened fd: it has a poller, and
// keeps the files that limit the cgroup's CPU time.
func ofRuntime(fd int) bool {
	link, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	return strings.HasPrefix(link, "anon_inode:[event") || strings.HasPrefix(link, "/sys/fs/cgroup/")
}

// text is what is in a file, or "".
func text(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

// words is the text of a file with its white space made even.
func words(path string) string { return even(text(path)) }

func even(text string) string { return strings.Join(strings.Fields(text), " ") }

func inodeOf(fd int) inode {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return inode{}
	}
	return inode{uint64(st.Dev), st.Ino}
}

// report starts a puppet with attr and gives its state.
func report(t *testing.T, attr *vspawn.Attr) *state {
	t.Helper()
	puppet := tiny.New(t)
	argv := tiny.Argv(t)
	p, err := vspawn.Start(t.Context(), argv[0], argv, withFile(attr, tiny.FD, puppet.Child))
	if err != nil {
		t.Fatal(err)
	}
	s := new(state)
	s.read(puppet.Do)
	delete(s.Files, tiny.FD)
	puppet.Close()
	wait(t, p, "exit status 0")
	return s
}

// ownState is that of this process and thread.
func ownState() *state {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := new(state)
	s.read(tiny.Local)
	return s
}

// withFile is attr with a descriptor more.
func withFile(attr *vspawn.Attr, child int, f *os.File) *vspawn.Attr {
	a := *attr
	if a.Files == nil {
		a.Files = inherited()
	}
	a.Files = append(a.Files[:len(a.Files):len(a.Files)], vspawn.File{Child: child, Parent: f})
	return &a
}

// reportGo is report with a Go program in the puppet's place; during is called
// while it runs.
func reportGo(t *testing.T, attr *vspawn.Attr, during func(*vspawn.Process)) (*state, error) {
	t.Helper()
	r, w := blockingPipe(t)
	defer r.Close()
	defer w.Close()
	p, err := start(t, reportHelper.Argv(), withFile(attr, reportFD, w))
	if err != nil {
		return nil, err
	}
	during(p)
	w.Close()
	return readReport(t, p, r), nil
}

// output starts a helper's command line with a pipe as its standard output and
// error, and attr's files, demands an end of it, and gives what came.
func output(t *testing.T, argv []string, attr *vspawn.Attr, end string) string {
	t.Helper()
	r, w := blockingPipe(t)
	a := *attr
	a.Files = append([]vspawn.File{{Child: 1, Parent: w}, {Child: 2, Parent: w}}, attr.Files...)
	p, err := start(t, argv, &a)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	wait(t, p, end)
	return string(out)
}

// start starts a helper's command line.
func start(t *testing.T, argv []string, attr *vspawn.Attr) (*vspawn.Process, error) {
	t.Helper()
	return vspawn.Start(t.Context(), program(argv), argv, attr)
}

// program is the path to start argv by. To another user, and in other
// directories, the test binary's own may be out of reach.
func program(argv []string) string {
	if self, err := os.Executable(); err == nil && self == argv[0] {
		return "/proc/self/exe"
	}
	return argv[0]
}

func readReport(t *testing.T, p *vspawn.Process, r io.Reader) *state {
	t.Helper()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	wait(t, p, "exit status 0")
	s := new(state)
	if err := json.Unmarshal(out, s); err != nil {
		t.Fatalf("the child's report is %q: %v", out, err)
	}
	return s
}

// inherited is what nil stands for in Attr.Files.
func inherited() []vspawn.File {
	return []vspawn.File{{Child: 0, Parent: vspawn.FD(0)}, {Child: 1, Parent: vspawn.FD(1)}, {Child: 2, Parent: vspawn.FD(2)}}
}

// wait waits for p and checks how it ended.
func wait(t *testing.T, p *vspawn.Process, want string) *vspawn.State {
	t.Helper()
	s, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.String() != want {
		t.Errorf("the child ended by %q, want %q", s, want)
	}
	return s
}

// blockingPipe is a pipe as programs that are not written in Go expect it,
// closed with the test.
func blockingPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w = rawPipe()
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// rawPipe is one that is not closed.
func rawPipe() (r, w *os.File) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		panic(err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
}

// needCapability skips a test for who lacks a capability. root may, too, in a
// container.
func needCapability(t *testing.T, c int, to string) {
	t.Helper()
	set, err := strconv.ParseUint(statusField("self", "CapEff"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	if set&(1<<c) == 0 {
		t.Skipf("no capability (number %d) to %s", c, to)
	}
}
