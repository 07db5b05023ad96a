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
	return []vspawn.File{{Child: 0, Parent: vspawn.FD(0)}, {Child: 1, Parent: vspawn.FD(1)},
		{Child: 2, Parent: vspawn.FD(2)}}
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
	if !hasCapability(c) {
		t.Skipf("no capability (number %d) to %s", c, to)
	}
}

func hasCapability(c int) bool {
	set, err := strconv.ParseUint(statusField("self", "CapEff"), 16, 64)
	if err != nil {
		panic(err)
	}
	return set&(1<<c) != 0
}
