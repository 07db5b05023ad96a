//go:build linux && (amd64 || arm64 || riscv64)

package exec

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/tests/helper"
	"github.com/vspawn/vspawn/tests/tiny"
)

// The tests of this file's kin run the same cases with this package and with
// os/exec, each in a process of its own, and compare what they say: errors with
// their types, texts and errnos, states, output, fields, and what the child was
// given. What differs by intent is in a list, with the reason; an entry of it
// that differs no more fails the test.

// A commander is a *Cmd of either package.
type commander interface {
	Start() error
	Wait() error
	Run() error
	Output() ([]byte, error)
	CombinedOutput() ([]byte, error)
	StdinPipe() (io.WriteCloser, error)
	StdoutPipe() (io.ReadCloser, error)
	StderrPipe() (io.ReadCloser, error)
	Environ() []string
	String() string
}

// A pack is one of the two packages.
type pack struct {
	empty          func() commander
	command        func(name string, arg ...string) commander
	commandContext func(ctx context.Context, name string, arg ...string) commander
}

var packs = map[string]pack{
	"own": {
		func() commander { return new(Cmd) },
		func(name string, arg ...string) commander { return Command(name, arg...) },
		func(ctx context.Context, name string, arg ...string) commander {
			return CommandContext(ctx, name, arg...)
		},
	},
	"std": {
		func() commander { return new(osexec.Cmd) },
		func(name string, arg ...string) commander { return osexec.Command(name, arg...) },
		func(ctx context.Context, name string, arg ...string) commander {
			return osexec.CommandContext(ctx, name, arg...)
		},
	},
}

// set sets a field of either package's Cmd.
func set(c commander, field string, v any) {
	reflect.ValueOf(c).Elem().FieldByName(field).Set(reflect.ValueOf(v))
}

func fieldOf(c commander, field string) any {
	return reflect.ValueOf(c).Elem().FieldByName(field).Interface()
}

func process(c commander) *os.Process { return fieldOf(c, "Process").(*os.Process) }

func state(c commander) *os.ProcessState { return fieldOf(c, "ProcessState").(*os.ProcessState) }

// explain is all of an error that a program can tell. A type that no other
// package can name is none.
func explain(err error) string {
	if err == nil {
		return "nil"
	}
	text := fmt.Sprintf("%q", err)
	for e := err; e != nil; e = errors.Unwrap(e) {
		switch v := e.(type) {
		case syscall.Errno:
			text += fmt.Sprintf(" errno %d", int(v))
		case *fs.PathError:
			text += fmt.Sprintf(" %T{%q, %q}", v, v.Op, v.Path)
		case *ExitError:
			text += fmt.Sprintf(" %T{%v, %q}", v, v.ProcessState, v.Stderr)
		default:
			if _, name, _ := strings.Cut(fmt.Sprintf("%T", e), "."); name != "" && name[0] >= 'A' && name[0] <= 'Z' {
				text += fmt.Sprintf(" %T", e)
			}
		}
	}
	for _, target := range []error{fs.ErrNotExist, fs.ErrPermission, os.ErrProcessDone, ErrWaitDelay, ErrDot, ErrNotFound, context.Canceled} {
		if errors.Is(err, target) {
			text += fmt.Sprintf(" is %q", target)
		}
	}
	return text
}

// A report is what one package says of one case.
type report struct{ strings.Builder }

func (r *report) say(label string, values ...any) {
	r.WriteString(label + ":")
	for _, v := range values {
		if err, ok := v.(error); ok {
			v = explain(err)
		}
		fmt.Fprintf(r, " %v", v)
	}
	r.WriteString("\n")
}

// ended says what is left of a command that has ended.
func (r *report) ended(c commander, err error) {
	r.say("wait", err)
	if s := state(c); s == nil {
		r.say("state", nil)
	} else {
		r.say("state", s, s.ExitCode(), s.Exited(), s.Success(), s.Sys(), "of the process", s.Pid() == process(c).Pid, "usage", s.SysUsage() != nil)
	}
}

// A task is a helper's work.
type task struct {
	Pack, Suite string
	Dir         string   // with what the suite has put there
	Exit        []string // a command that ends with status 7
	Zero        []string // with status 0
	Sleep       []string // one that sleeps
	Puppet      []string // one of a puppet
	UID         int      // to become before, if it is not 0
	Step        int      // of the pairs, each Step-th is tried
}

// emulated tells whether this is qemu-user.
func (t *task) emulated() bool { return len(t.Exit) > 1 }

// A suite are cases that can be run in a helper.
type suite struct {
	names []string
	pairs int // where the pairs begin; 0 is nowhere
	run   func(t *task, p pack, i int) string
}

var suites = map[string]func() suite{}

// An answer is a helper's line.
type answer struct{ Name, Text string }

// comparer runs one package's cases and says what came of each.
var comparer = helper.New("comparer", func(args []string) int {
	var t task
	if err := json.Unmarshal([]byte(args[0]), &t); err != nil {
		panic(err)
	}
	runtime.LockOSThread() // for PTRACE and PDEATHSIG
	if t.UID != 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(t.UID, t.UID, t.UID), syscall.Setresuid(t.UID, t.UID, t.UID),
			unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)); err != nil {
			panic(err)
		}
	}
	if _, err := unix.FcntlInt(0, unix.F_DUPFD, 177); err != nil { // not close-on-exec: inherited
		panic(err)
	}
	out := json.NewEncoder(os.NewFile(uintptr(aside(1)), "answers"))
	s := suites[t.Suite]()
	for i := range s.names {
		if s.pairs > 0 && i >= s.pairs && (i-s.pairs)%t.Step != 0 {
			continue
		}
		if err := out.Encode(answer{s.names[i], s.run(&t, packs[t.Pack], i)}); err != nil {
			panic(err)
		}
	}
	return 0
}, cat, say, leaver)

// aside moves a descriptor out of the way of the cases, and /dev/null in its
// place.
func aside(fd int) int {
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 200)
	if err == nil {
		err = unix.Dup3(0, fd, 0)
	}
	if err != nil {
		panic(err)
	}
	return high
}

// answers runs the task in a helper. One that says nothing for a minute hangs.
func answers(t *testing.T, job task) []answer {
	t.Helper()
	arg, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	c := comparer.Command(string(arg))
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal, and a group of its own
	c.Dir = "/"
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan answer)
	go func() {
		defer close(lines)
		for s := bufio.NewReader(out); ; {
			var a answer
			line, err := s.ReadBytes('\n')
			if err != nil || json.Unmarshal(line, &a) != nil {
				return
			}
			lines <- a
		}
	}()
	var all []answer
	for hung := false; ; {
		select {
		case a, ok := <-lines:
			if ok {
				all = append(all, a)
				continue
			}
		case <-time.After(time.Minute):
			hung = true
			c.Process.Kill()
		}
		for range lines {
		}
		if err := c.Wait(); err != nil || hung {
			last := answer{Name: "none"}
			if len(all) > 0 {
				last = all[len(all)-1]
			}
			t.Errorf("%s, %s: %v (hung: %t) behind the case %q", job.Pack, job.Suite, err, hung, last.Name)
		}
		return all
	}
}

// An intent is a difference that is wanted: that of the cases that have all of
// these pieces. docs/exec.md says so as well.
type intent struct {
	pieces string // joined by " + "
	line   string // the one that differs; "" is any
	why    string
}

// covers tells whether this is all that differs.
func (n *intent) covers(name, own, std string) bool {
	have := strings.Split(name, " + ")
	if n.line != "" && without(n.line, own) != without(n.line, std) {
		return false
	}
	for _, p := range strings.Split(n.pieces, " + ") {
		if !slices.Contains(have, p) {
			return false
		}
	}
	return true
}

// without is a report without a line.
func without(label, text string) (rest string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, label+":") {
			rest += line
		}
	}
	return rest
}

// compare runs the task with both packages. With all set, all that is intended
// has to show where it is tried.
func compare(t *testing.T, job task, intents []intent, all bool) {
	t.Helper()
	start := time.Now()
	results := map[string]chan []answer{}
	for name := range packs {
		result := make(chan []answer, 1)
		results[name] = result
		j := job
		j.Pack = name
		go func() { result <- answers(t, j) }()
	}
	own, std := <-results["own"], <-results["std"]
	shown := map[string]bool{}
	differ := 0
	for i := range min(len(own), len(std)) {
		if own[i].Name != std[i].Name {
			t.Fatalf("case %d is %q and %q", i, own[i].Name, std[i].Name)
		}
		if own[i].Text == std[i].Text {
			continue
		}
		n := slices.IndexFunc(intents, func(n intent) bool { return n.covers(own[i].Name, own[i].Text, std[i].Text) })
		if n >= 0 {
			shown[intents[n].pieces] = true
			continue
		}
		if differ++; differ <= 30 {
			t.Errorf("%s: got\n%sos/exec gives\n%s", own[i].Name, own[i].Text, std[i].Text)
		}
	}
	t.Logf("uid %d: %d cases in %v, %d differ; %d of %d intents show", job.UID, len(own), time.Since(start).Round(time.Millisecond), differ, len(shown), len(intents))
	if len(own) != len(std) || len(own) == 0 {
		t.Errorf("%d and %d cases", len(own), len(std))
	}
	for _, n := range intents {
		tried := slices.ContainsFunc(own, func(a answer) bool { return a.Name == n.pieces })
		if all && tried && !shown[n.pieces] {
			t.Errorf("%s: is to differ (%s), but does not", n.pieces, n.why)
		}
	}
}

// newTask has a directory that everyone can use.
func newTask(t *testing.T, suite string) task {
	t.Helper()
	dir, err := os.MkdirTemp("", "same-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	job := task{Suite: suite, Dir: dir, Exit: helper.Emulate(tiny.Exit(t, 7)), Zero: helper.Emulate(tiny.Exit(t, 0)),
		Sleep: helper.Emulate(tiny.Sleep(t)), Puppet: tiny.Argv(t), Step: 1}
	puppet, err := os.ReadFile(job.Puppet[len(job.Puppet)-1])
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	for name, data := range map[string][]byte{
		"file":   []byte("no program"),
		"empty":  nil,
		"script": []byte("#!/not/here\n"),
		filepath.Join("root", job.Puppet[len(job.Puppet)-1]): puppet,
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "private"), 0o700), os.Mkdir(filepath.Join(dir, "sub"), 0o755),
		os.Chmod(filepath.Join(dir, "file"), 0o644), os.Chmod(root, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return job
}

// A standIn is a testing.TB for a helper.
type standIn struct {
	testing.TB
	over []func()
}

func (s *standIn) Helper()          {}
func (s *standIn) Fatal(v ...any)   { panic(fmt.Sprint(v...)) }
func (s *standIn) Cleanup(f func()) { s.over = append(s.over, f) }
func (s *standIn) clean() {
	for _, f := range slices.Backward(s.over) {
		f()
	}
}

// given says what a puppet has been given.
func (r *report) given(p *tiny.Puppet) {
	call := func(nr int, args ...any) *tiny.Call { return &tiny.Call{Nr: nr, Args: args} }
	var dir [256]byte
	pid, sid, pgid := call(unix.SYS_GETPID), call(unix.SYS_GETSID, 0), call(unix.SYS_GETPGID, 0)
	cwd := call(unix.SYS_GETCWD, dir[:], len(dir))
	var pdeathsig [4]byte
	signal := call(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, pdeathsig[:])
	status := call(unix.SYS_OPENAT, unix.AT_FDCWD, "/proc/self/status", unix.O_RDONLY)
	calls := []*tiny.Call{pid, sid, pgid, cwd, signal}
	spaces := []string{"mnt", "uts", "user", "pid_for_children", "ipc", "cgroup", "time_for_children"}
	links := map[string][]byte{}
	for _, ns := range spaces {
		links[ns] = make([]byte, 64)
		calls = append(calls, call(unix.SYS_READLINKAT, unix.AT_FDCWD, "/proc/self/ns/"+ns, links[ns], 64))
	}
	fds := map[int]*tiny.Call{}
	for _, fd := range []int{0, 1, 2, 3, 4, 5, 6, 177} {
		fds[fd] = call(unix.SYS_FCNTL, fd, unix.F_GETFD)
		calls = append(calls, fds[fd])
	}
	if err := p.Do(append(calls, status)...); err != nil {
		r.say("puppet", err)
		return
	}
	whose := func(id int) string {
		return map[int]string{pid.Result: "own", unix.Getpgrp(): "the parent's", 0: "outside"}[id]
	}
	r.say("pid 1", pid.Result == 1, "session", whose(sid.Result), "group", whose(pgid.Result), "pdeathsig", pdeathsig)
	r.say("directory", unix.ByteSliceToString(dir[:]))
	for _, ns := range spaces {
		mine, _ := os.Readlink("/proc/self/ns/" + ns)
		if unix.ByteSliceToString(links[ns]) != mine {
			r.say("new namespace", ns)
		}
	}
	for _, fd := range slices.Sorted(maps.Keys(fds)) {
		if fds[fd].Err() == nil {
			r.say("open", fd, fds[fd].Result)
		}
	}
	r.status(p, status)
}

// status says what /proc has of the puppet.
func (r *report) status(p *tiny.Puppet, status *tiny.Call) {
	if err := status.Err(); err != nil {
		r.say("status", err)
		return
	}
	buf := make([]byte, 8192)
	if err := p.Do(&tiny.Call{Nr: unix.SYS_READ, Args: []any{status.Result, buf, len(buf)}}); err != nil {
		r.say("puppet", err)
		return
	}
	for line := range strings.Lines(unix.ByteSliceToString(buf)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch {
		case name == "NSpid":
			r.say("depth", len(strings.Fields(value)))
		case slices.Contains([]string{"Umask", "Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "TracerPid", "ShdPnd"}, name),
			strings.HasPrefix(name, "Cap"), strings.HasPrefix(name, "Sig") && name != "SigQ":
			r.say(name, strings.TrimSpace(value))
		}
	}
}
