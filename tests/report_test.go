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

	"github.com/vspawn/vspawn/tests/helper"
	"github.com/vspawn/vspawn/vspawn"
	"golang.org/x/sys/unix"
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

// mainThread is what only the main thread can say. It runs the initialization.
var mainThread = struct {
	tid, pdeathsig int
	scheduling     scheduling
}{unix.Gettid(), pdeathsig(), readScheduling()}

func readScheduling() (s scheduling) {
	if n, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil {
		s.Nice = 20 - n // the call itself never answers a negative number
	}
	const whoProcess = 1
	if p, _, errno := unix.RawSyscall(unix.SYS_IOPRIO_GET, whoProcess, 0, 0); errno == 0 {
		s.IOPriority = int(p)
	}
	if a, err := unix.SchedGetAttr(0, 0); err == nil {
		s.Attr = *a
	}
	unix.SchedGetaffinity(0, &s.Affinity)
	s.Cookie, _ = coreCookie()
	s.TimerSlack, _ = unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	return s
}

func readPrivileges() (p privileges) {
	field := func(name string) string { return statusField("thread-self", name) }
	p = privileges{Inheritable: field("CapInh"), Permitted: field("CapPrm"), Effective: field("CapEff"),
		Bounding: field("CapBnd"), Ambient: field("CapAmb"), Seccomp: field("Seccomp")}
	p.Securebits, _ = unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	p.NoNewPrivs, _ = unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return p
}

// reportFD is the descriptor by which a child reports: one that no test maps.
const reportFD = 99

// toStandardOutput, as an argument, makes it report there.
const toStandardOutput = "to standard output"

// scanned is how far a child looks for descriptors. Without /proc, which it
// need not have, there is nothing to list them.
const scanned = 1024

var reportHelper = helper.New("report", func(args []string) int {
	// The table as it was given to us, before anything is opened.
	s := state{Files: map[int]inode{}}
	for fd := range scanned {
		if i := inodeOf(fd); i != (inode{}) && !ofRuntime(fd) {
			s.Files[fd] = i
		}
	}
	s.read(args)
	s.Scheduling = mainThread.scheduling // which other threads may not have
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

func (s *state) read(args []string) {
	s.Argv0, s.Args = os.Args[0], args
	// As it came; os.Environ leaves out what is there twice.
	if env := text("/proc/self/environ"); env != "" {
		s.Env = strings.Split(strings.TrimSuffix(env, "\x00"), "\x00")
	}
	var buf [unix.PathMax]byte
	if n, err := unix.Getcwd(buf[:]); err == nil {
		s.Dir = string(buf[:n-1])
	}
	if root, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
		s.Root = inodeOf(root)
		unix.Close(root)
	}

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s.Pid, s.Ppid, s.Tid = unix.Getpid(), unix.Getppid(), mainThread.tid
	s.Tgid, _ = strconv.Atoi(statusField("self", "Tgid"))
	s.Pgid, _ = unix.Getpgid(0)
	s.Sid, _ = unix.Getsid(0)
	onSecondThread(func() { s.Second = thread{unix.Getpid(), unix.Getppid(), unix.Gettid()} })
	if tasks, err := os.ReadDir("/proc/self/task"); err == nil {
		for _, t := range tasks {
			tid, _ := strconv.Atoi(t.Name())
			s.Tasks = append(s.Tasks, tid)
		}
	}
	if tty, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		s.Foreground, _ = unix.IoctlGetInt(tty, unix.TIOCGPGRP)
		unix.Close(tty)
	}

	s.UID[0], s.UID[1], s.UID[2] = unix.Getresuid()
	s.GID[0], s.GID[1], s.GID[2] = unix.Getresgid()
	s.Groups, _ = unix.Getgroups()
	s.Umask = unix.Umask(0)
	unix.Umask(s.Umask)
	for r := range unix.RLIMIT_RTTIME + 1 {
		var l unix.Rlimit
		unix.Getrlimit(r, &l)
		s.Limits = append(s.Limits, l)
	}
	s.Mask, s.Pending, s.Pdeathsig = signalMask(), pendingSignals(), mainThread.pdeathsig

	s.Scheduling, s.Privileges = readScheduling(), readPrivileges()
	s.OOMScoreAdj = words("/proc/self/oom_score_adj")
	const ask = 0xffffffff
	if p, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, ask, 0, 0); errno == 0 {
		s.Personality = int(p)
	}
	s.Keyring, _ = unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)

	var u unix.Utsname
	unix.Uname(&u)
	s.Hostname = unix.ByteSliceToString(u.Nodename[:])
	s.Mounts = strings.Split(text("/proc/self/mountinfo"), "\n")
	s.Namespaces = map[string]string{}
	if list, err := os.ReadDir("/proc/self/ns"); err == nil {
		for _, e := range list {
			s.Namespaces[e.Name()], _ = os.Readlink("/proc/self/ns/" + e.Name())
		}
	}
	s.Cgroup = words("/proc/self/cgroup")
	s.UIDMap, s.GIDMap = words("/proc/self/uid_map"), words("/proc/self/gid_map")
	s.Setgroups = words("/proc/self/setgroups")
}

// statusField is a line of /proc/PID/status, or "".
func statusField(pid, name string) string {
	for line := range strings.Lines(text("/proc/" + pid + "/status")) {
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
func words(path string) string { return strings.Join(strings.Fields(text(path)), " ") }

func inodeOf(fd int) inode {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return inode{}
	}
	return inode{uint64(st.Dev), st.Ino}
}

// report starts the report helper with attr and gives what it says.
func report(t *testing.T, attr *vspawn.Attr) *state {
	t.Helper()
	s, err := tryReport(t, attr, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tryReport is report for a child that may fail to start. The child is a copy
// of attr's with a descriptor more; during is called while it runs.
func tryReport(t *testing.T, attr *vspawn.Attr, during func(*vspawn.Process)) (*state, error) {
	t.Helper()
	r, w := blockingPipe(t)
	defer r.Close()
	defer w.Close()
	a := *attr
	if a.Files == nil {
		a.Files = inherited()
	}
	a.Files = append(a.Files[:len(a.Files):len(a.Files)], vspawn.File{Child: reportFD, File: w})
	p, err := start(t, reportHelper.Argv(), &a)
	if err != nil {
		return nil, err
	}
	if during != nil {
		during(p)
	}
	w.Close()
	return readReport(t, p, r), nil
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
	return []vspawn.File{{Child: 0, Parent: 0}, {Child: 1, Parent: 1}, {Child: 2, Parent: 2}}
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
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
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
