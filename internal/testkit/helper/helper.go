//go:build linux

// Package helper makes one test binary serve as test, as the helper processes
// of its tests, and as the program that they start. Guests have neither a Go
// toolchain nor a shell, so there is nothing else to start there.
//
// A package declares its helpers as variables and hands its TestMain to [Main]:
//
//	var exit = helper.New("exit", func(args []string) int { … })
//
//	func TestMain(m *testing.M) { helper.Main(m) }
//
// The first argument selects the helper, so argv[0] and the environment are
// left to the tests.
package helper

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const prefix = "helper:"

var helpers = map[string]*Helper{}

// A Helper is a process that the test binary can be.
type Helper struct {
	name string
	main func(args []string) int
	used atomic.Bool

	starts []*Helper
}

// New declares a helper. main gets the arguments after the helper's name and
// returns the exit status. starts are the helpers that it starts in its turn.
func New(name string, main func(args []string) int, starts ...*Helper) *Helper {
	if helpers[name] != nil {
		panic("helper: two have the name " + name)
	}
	h := &Helper{name: name, main: main, starts: starts}
	helpers[name] = h
	return h
}

func (h *Helper) use() {
	h.used.Store(true)
	for _, s := range h.starts {
		s.use()
	}
}

// Argv is a command line of the helper; its first word is the path to start.
// Under qemu-user that is the emulator's, since the kernel cannot start the
// test binary itself.
func (h *Helper) Argv(args ...string) []string {
	h.use()
	return slices.Concat(self(), []string{prefix + h.name}, args)
}

// Command is Argv for os/exec, with the test's own standard error.
func (h *Helper) Command(args ...string) *exec.Cmd {
	argv := h.Argv(args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	return cmd
}

// self is the command line that starts the test binary.
func self() []string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Emulate(exe)
}

// Emulate is the command line that starts a program for this machine, which
// the kernel may be unable to do.
func Emulate(program string) []string {
	if e := emulator(); e != "" {
		return []string{e, program}
	}
	return []string{program}
}

// emulator is the path of the qemu-user that runs us, or "". qemu answers
// /proc/self/exe with the program's path, and no other spelling of it.
func emulator() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	real, err := os.Readlink("/proc/thread-self/exe")
	if err != nil {
		panic(err)
	}
	if strings.TrimSuffix(real, " (deleted)") == exe {
		return ""
	}
	return real
}

// MakeReachable lets other users reach the test binary in the directory that go
// test has made for it, where a child that has become someone else starts it by
// its path. Under qemu-user all do.
func MakeReachable() {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	for dir := filepath.Dir(exe); dir != "/"; dir = filepath.Dir(dir) {
		if strings.HasPrefix(filepath.Base(dir), "go-build") {
			os.Chmod(dir, 0o711)
		}
	}
}

// SkipEmulated skips a test that qemu-user cannot run: it has no ptrace and no
// seccomp, and makes a fork of every vfork.
func SkipEmulated(t testing.TB, needs string) {
	t.Helper()
	if emulator() != "" {
		t.Skip("qemu-user has no " + needs)
	}
}

// Rounds is how often a stress test does a thing: n times, but in an emulated
// machine, where all takes some twenty times as long, a fifth of that.
func Rounds(n int) int {
	if os.Getenv("VSPAWN_TARGET") != "" {
		return (n + 4) / 5
	}
	return n
}

var atExit []func()

// AtExit has f called after the last test.
func AtExit(f func()) { atExit = append(atExit, f) }

// MMU tells whether the kernel has an MMU: without one there is no madvise.
func MMU() bool { return unix.Madvise(nil, unix.MADV_NORMAL) != unix.ENOSYS }

// SkipNoMMU skips a test that needs an MMU, for the reason given.
func SkipNoMMU(t testing.TB, reason string) {
	t.Helper()
	if !MMU() {
		t.Skip("no MMU: " + reason)
	}
}

// Main runs the helper that the command line selects, or else the tests, and
// exits. The run fails if a test has left a child or a descriptor behind, or
// if no test of a full run has used some helper.
func Main(m *testing.M) {
	if len(os.Args) > 1 {
		if name, ok := strings.CutPrefix(os.Args[1], prefix); ok {
			h := helpers[name]
			if h == nil {
				fmt.Fprintf(os.Stderr, "helper: there is no %q, only %q\n", name, slices.Sorted(maps.Keys(helpers)))
				os.Exit(2)
			}
			// Not os.Exit, which under the race detector takes a second.
			syscall.Exit(h.main(os.Args[2:]))
		}
	}

	if emulator() != "" {
		MakeReachable()
	}

	// The netpoller's own descriptors come with its first use, and stay.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	before := descriptors()
	code := m.Run()
	for _, f := range atExit {
		f()
	}
	after := settled(before, time.Minute)
	for _, leak := range slices.Concat(children(), opened(before, after), unused()) {
		fmt.Fprintln(os.Stderr, "FAIL: leak check:", leak)
		code = max(code, 1)
	}
	os.Exit(code)
}

// OpenFiles are this process's open descriptors, and what they refer to.
func OpenFiles() map[string]string {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	fds := map[string]string{}
	for _, e := range entries {
		// The one that ReadDir used is gone by now.
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			fds[e.Name()] = to
		}
	}
	return fds
}

// descriptors are OpenFiles, but for package vspawn's poller, which comes and stays
// like the runtime's.
func descriptors() map[string]string {
	fds := OpenFiles()
	maps.DeleteFunc(fds, func(_, to string) bool { return to == "anon_inode:[eventpoll]" })
	return fds
}

// settled are the descriptors when no file below /proc is open that was not before:
// package vspawn looks at the process's children there, for a moment, behind a start with
// other credentials. It waits for that alone: any other descriptor is a leak at once.
func settled(before map[string]string, patience time.Duration) map[string]string {
	collects := debug.SetGCPercent(-1) // lest the collector closes one that is lost
	defer debug.SetGCPercent(collects)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		after, looks := descriptors(), false
		for fd, to := range after {
			looks = looks || before[fd] != to && strings.HasPrefix(to, "/proc/")
		}
		if !looks || time.Now().After(end) {
			return after
		}
	}
}

func opened(before, after map[string]string) (leaks []string) {
	var own []string // what package testing leaves open itself
	for _, name := range []string{"test.cpuprofile", "test.trace"} {
		own = append(own, filepath.Base(flag.Lookup(name).Value.String()))
	}
	for fd, to := range after {
		if before[fd] != to && !slices.Contains(own, filepath.Base(to)) {
			leaks = append(leaks, fmt.Sprintf("descriptor %s is still open: %s", fd, to))
		}
	}
	for _, fd := range []string{"0", "1", "2"} {
		if to := before[fd]; to != "" && after[fd] == "" {
			leaks = append(leaks, fmt.Sprintf("descriptor %s is closed, which was %s", fd, to))
		}
	}
	slices.Sort(leaks)
	return leaks
}

func children() []string {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
	if err == unix.ECHILD {
		return nil
	}
	if err != nil {
		return []string{"waitid: " + err.Error()}
	}
	leak := "a child was not waited for:"
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, l := range lists {
		pids, _ := os.ReadFile(l)
		leak += " " + string(pids)
	}
	return []string{leak}
}

func unused() (leaks []string) {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if flag.Lookup(name).Value.String() != "" {
			return nil
		}
	}
	if emulator() != "" {
		return nil // tests have been skipped
	}
	for _, name := range slices.Sorted(maps.Keys(helpers)) {
		if !helpers[name].used.Load() {
			leaks = append(leaks, "no test used the helper "+name)
		}
	}
	return leaks
}
