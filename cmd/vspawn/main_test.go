//go:build linux

package main

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// The test binary is also the program that the command starts: it does what
// its first argument says when this variable is set.
const asChild = "VSPAWN_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		child(os.Args[0], os.Args[1], os.Args[2:])
	}
	os.Exit(m.Run())
}

func child(argv0, what string, args []string) {
	switch what {
	case "exit":
		n, _ := strconv.Atoi(args[0])
		os.Exit(n)
	case "die":
		unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	case "print": // to descriptor 3
		dir, _ := os.Getwd()
		fmt.Fprintln(os.NewFile(3, "3"), argv0, dir, os.Getenv("A"), os.Getenv("B"), len(os.Environ()))
		os.Exit(0)
	case "await": // the signal, once it was told that we are ready
		n, _ := strconv.Atoi(args[0])
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.Signal(n))
		os.NewFile(3, "3").Write([]byte("."))
		<-c
		os.Exit(40 + n)
	case "terminal": // the leader of a session with a terminal; status 0 is all well
		args := []string{"run", "-pgid", "0", "-foreground", "/proc/self/exe", "is-foreground"}
		status := run(os.Stdout, os.Stderr, args)
		if status == 0 {
			status = isForeground()
		}
		os.Exit(status)
	case "ignores":
		if signal.Ignored(unix.SIGHUP) {
			os.Exit(0)
		}
		os.Exit(1)
	case "is-foreground":
		os.Exit(isForeground())
	case "vspawn":
		os.Exit(run(os.Stdout, os.Stderr, args))
	case "shell":
		os.Exit(shell(args[0]))
	case "script":
		os.Exit(script(args))
	case "player":
		os.Exit(player())
	}
	os.Exit(99)
}

// isForeground gives 0 if our process group is the terminal's.
func isForeground() int {
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() {
		fmt.Fprintf(os.Stderr, "the terminal's group is %d (%v), ours %d\n", group, err, unix.Getpgrp())
		return 1
	}
	return 0
}

// vspawnRun runs "vspawn run" of this binary in this process.
func vspawnRun(flags []string, args ...string) (status int, stderr string) {
	var out, err bytes.Buffer
	all := slices.Concat([]string{"run", "-env", asChild + "=1"}, flags, []string{"/proc/self/exe"}, args)
	status = run(&out, &err, all)
	return status, err.String() + out.String()
}

func TestExitStatus(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		stderr string // one line
	}{
		{[]string{"-env", asChild + "=1", "/proc/self/exe", "exit", "0"}, 0, ""},
		{[]string{"-env", asChild + "=1", "--", "/proc/self/exe", "exit", "7"}, 7, ""},
		{[]string{"-env", asChild + "=1", "/proc/self/exe", "die"}, 128 + 9, ""},
		{[]string{"/nope"}, 127, "vspawn: execve /nope: no such file or directory"},
		{[]string{"vspawn-no-such-program"}, 127, `vspawn: exec: "vspawn-no-such-program": executable file not found in $PATH`},
		{[]string{plain}, 126, "vspawn: execve " + plain + ": permission denied"},
		{[]string{"-dir", "/nope", "/proc/self/exe"}, 126, "vspawn: chdir /nope (Attr.Dir): no such file or directory"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			status := run(&stdout, &stderr, append([]string{"run"}, c.args...))
			if status != c.status || strings.TrimSuffix(stderr.String(), "\n") != c.stderr || stdout.Len() > 0 {
				t.Errorf("status %d, stderr %q, stdout %q, want %d and %q", status, &stderr, &stdout, c.status, c.stderr)
			}
		})
	}
}

func TestCgroup(t *testing.T) {
	var stdout, stderr bytes.Buffer
	status := run(&stdout, &stderr, []string{"plan", "-cgroup", "/", "/bin/true"})
	if status != 0 || !strings.Contains(stdout.String(), "|CLONE_INTO_CGROUP, ") {
		t.Errorf("status %d, stderr %q, stdout %q", status, &stderr, &stdout)
	}
}

// lowerNofile keeps the runtime's own raise of the limit out of the plans.
func lowerNofile(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: was.Max / 2, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: was.Cur, Max: was.Max}) })
}

// Every field of Attr has a flag.
func TestEveryAttribute(t *testing.T) {
	without := map[string]string{
		"Syscalls": "its arguments are pointers",
		"Ptrace":   "the tracer would be us, and we don't trace",
	}
	attr := reflect.TypeFor[vspawn.Attr]()
	for i := range attr.NumField() {
		name := attr.Field(i).Name
		found := slices.ContainsFunc(options, func(o option) bool { return o.field == name })
		if found == (without[name] != "") {
			t.Errorf("Attr.%s: has a flag: %v", name, found)
		}
	}
	for _, o := range options {
		if _, ok := attr.FieldByName(o.field); !ok && o.field != "argv" {
			t.Errorf("-%s is for Attr.%s, which is not there", o.name, o.field)
		}
	}
}

// The comment above the package is what help prints.
func TestDoc(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(&stdout, &stderr, []string{"run", "-h"}); status != 0 || stderr.Len() > 0 {
		t.Fatalf("status %d, stderr %q", status, &stderr)
	}
	f, err := parser.ParseFile(token.NewFileSet(), "main.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	doc := f.Doc.Text()
	for line := range strings.Lines(stdout.String()) {
		if !strings.Contains(doc, strings.TrimLeft(line, " ")) {
			t.Errorf("not in the doc comment: %s", line)
		}
	}
}

func TestFeatures(t *testing.T) {
	f, err := vspawn.Features()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if status := run(&stdout, &stderr, []string{"features"}); status != 0 || stderr.Len() > 0 {
		t.Fatalf("status %d, stderr %q", status, &stderr)
	}
	want := map[bool]string{true: "yes", false: "no"}[f.Clone3]
	if got := strings.Fields(stdout.String()); len(got) != 2*reflect.TypeOf(f).NumField() || got[0] != "Clone3" || got[1] != want {
		t.Errorf("got %q", got)
	}
}
