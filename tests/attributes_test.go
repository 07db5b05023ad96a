//go:build linux

package tests

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// A spawnKind is a way to start a child: attributes, and what the child must
// then say of itself.
type spawnKind struct {
	name  string
	setUp func(t *testing.T) (*vspawn.Attr, func(t *testing.T, s *state))
}

// spawnKinds has an entry for each attribute.
var spawnKinds = slices.Concat(processKinds, schedulingKinds, privilegeKinds, namespaceKinds)

// kindsHere are those that may take another path where we are.
func kindsHere() []spawnKind {
	if os.Getenv(elsewhereEnv) != "" {
		return processKinds // on none of the others does it bear what clone and close_range can do
	}
	return spawnKinds
}

// Each attribute is as asked for, as seen from inside the child, and what was
// not asked for is as it is in the parent.
func TestAttributes(t *testing.T) {
	for _, k := range kindsHere() {
		t.Run(k.name, func(t *testing.T) {
			attr, check := k.setUp(t)
			check(t, report(t, attr))
		})
	}
}

// Every field of Attr has a test by its name, or one that is named here.
func TestEveryAttributeHasATest(t *testing.T) {
	elsewhere := map[string]string{
		"Files":          "TestFiles",
		"TTY":            "ControllingTTY",
		"Foreground":     "ControllingTTY and Foreground",
		"GID":            "UID and GID",
		"DefaultSignals": "TestDispositions",
		"IgnoreSignals":  "TestDispositions",
		"UIDMap":         "TestUserNamespace",
		"GIDMap":         "TestUserNamespace",
		"AllowSetgroups": "TestUserNamespace",
		"Cloneflags":     "TestNamespaces",
		"ExecFD":         "TestExecFD",
		"InheritFiles":   "TestInheritFiles",
		"CloseRanges":    "TestInheritFiles",
		"Landlock":       "TestLandlock",
		"PrivateMounts":  "TestPrivateMounts",
		"Ptrace":         "TestPtrace",
		"StartStopped":   "TestStartStopped",
	}
	for i := range reflect.TypeFor[vspawn.Attr]().NumField() {
		field := reflect.TypeFor[vspawn.Attr]().Field(i).Name
		named := func(k spawnKind) bool { return k.name == field || strings.HasPrefix(k.name, field+" ") }
		if elsewhere[field] == "" && !slices.ContainsFunc(spawnKinds, named) {
			t.Errorf("no test of Attr.%s", field)
		}
	}
}

// argv is the caller's own, its first word too, and says nothing about the
// path.
func TestArgv(t *testing.T) {
	helper.SkipEmulated(t, "argv[0] other than its own")
	argv := reportHelper.Argv("", "two words", "ü")
	argv[0] = "another name"
	r, w := blockingPipe(t)
	p, err := vspawn.Start(t.Context(), "/proc/self/exe", argv,
		&vspawn.Attr{Files: []vspawn.File{{Child: 2, Parent: vspawn.FD(2)}, {Child: reportFD, Parent: w}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	s := readReport(t, p, r)
	equal(t, "argv[0]", s.Argv0, "another name")
	equal(t, "arguments", s.Args, []string{"", "two words", "ü"})
}

// A relative path of the program is relative to Dir.
func TestRelativePath(t *testing.T) {
	dir := realTemp(t)
	argv := reportHelper.Argv()
	if err := os.Symlink(argv[0], filepath.Join(dir, "program")); err != nil {
		t.Fatal(err)
	}
	r, w := blockingPipe(t)
	p, err := vspawn.Start(t.Context(), "./program", argv,
		&vspawn.Attr{Dir: dir, Files: []vspawn.File{{Child: 2, Parent: vspawn.FD(2)}, {Child: reportFD, Parent: w}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	equal(t, "directory", readReport(t, p, r).Dir, dir)
}

// The child has the limit of open descriptors that the parent was started
// with, not the one that the Go runtime has raised for itself.
func TestNofileRestored(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	const soft, hard = 100, 150
	r, w := blockingPipe(t)
	argv := nofileHelper.Argv()
	p, err := start(t, argv, &vspawn.Attr{
		Files:   []vspawn.File{{Child: 0, Parent: vspawn.FD(0)}, {Child: 1, Parent: w}, {Child: 2, Parent: vspawn.FD(2)}},
		Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: soft, Hard: hard}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	out, _ := io.ReadAll(r)
	wait(t, p, "exit status 0")
	equal(t, "limits of the parent and the child", string(out), fmt.Sprintf("raised: true, child: %d %d", soft, hard))
}

var nofileHelper = helper.New("nofile", func([]string) int {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		panic(err)
	}
	var l [2]uint64
	err := atExec(&vspawn.Attr{}, func(pid string) {
		for line := range strings.Lines(text("/proc/" + pid + "/limits")) {
			fmt.Sscanf(line, "Max open files %d %d", &l[0], &l[1])
		}
	})
	if err != nil {
		panic(err)
	}
	fmt.Printf("raised: %t, child: %d %d", own.Cur > 100, l[0], l[1])
	return 0
})

// nil in SignalMask passes on the mask of the thread that calls Start; an
// empty list blocks nothing.
func TestMaskInherited(t *testing.T) {
	helper.SkipEmulated(t, "signal masks of the program's own")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGUSR2 - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old); err != nil {
		t.Fatal(err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	equal(t, "mask passed on", report(t, &vspawn.Attr{}).Mask, setOf(unix.SIGUSR2))
	equal(t, "empty mask", report(t, &vspawn.Attr{SignalMask: []syscall.Signal{}}).Mask, 0)
	equal(t, "mask of the parent", signalMask(), setOf(unix.SIGUSR2))
}

// The program begins with the dispositions that were asked for. Others that
// were caught are default, and others that were ignored stay so.
func TestDispositions(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	p, err := start(t, dispositionsHelper.Argv(), &vspawn.Attr{IgnoreSignals: []syscall.Signal{unix.SIGHUP, unix.SIGINT}})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

// dispositionsHelper ignores SIGHUP and SIGINT, as the Go runtime leaves those
// two alone, and catches the rest.
var dispositionsHelper = helper.New("dispositions", func([]string) int {
	own := statusField("self", "SigIgn")
	attr := &vspawn.Attr{
		DefaultSignals: []syscall.Signal{unix.SIGINT, unix.SIGQUIT},
		IgnoreSignals:  []syscall.Signal{unix.SIGUSR1, unix.SIGALRM, 64},
		SignalMask:     []syscall.Signal{unix.SIGTERM, unix.SIGUSR2, 33},
	}
	// Whoever started the tests may have had others ignored: make 4.3 does.
	ignored, err := strconv.ParseUint(own, 16, 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ignored &^= setOf(unix.SIGINT, unix.SIGQUIT)
	want := [3]string{
		fmt.Sprintf("%016x", ignored|setOf(unix.SIGHUP, unix.SIGUSR1, unix.SIGALRM, 64)),
		fmt.Sprintf("%016x", 0),
		fmt.Sprintf("%016x", setOf(unix.SIGTERM, unix.SIGUSR2, 33)),
	}
	var got [3]string
	err = atExec(attr, func(pid string) {
		got = [3]string{statusField(pid, "SigIgn"), statusField(pid, "SigCgt"), statusField(pid, "SigBlk")}
	})
	if ignored&setOf(unix.SIGHUP) == 0 || got != want || err != nil {
		fmt.Fprintf(os.Stderr, "the parent ignores %s; the child ignores, catches and blocks %v, want %v; %v\n", own, got, want, err)
		return 1
	}
	return 0
})

// openTemp makes a directory and opens it.
func openTemp(t *testing.T) (path string, fd int) {
	t.Helper()
	path = realTemp(t)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(path, ": ", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return path, fd
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// setOf is a signal set as the kernel has it.
func setOf(signals ...syscall.Signal) (set uint64) {
	for _, s := range signals {
		set |= 1 << (s - 1)
	}
	return set
}

// realTemp is a temporary directory, by the name that getcwd gives it.
func realTemp(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
