//go:build linux

package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/vspawn"
	"github.com/vspawn/vspawn/vspawn/exec"
)

// files lays out a tree of files for a test, in which it then works.
func files(t *testing.T, tree map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range tree {
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// report is what is said of the tree in TestMigrate.
const report = `dot/dot.go: %
dot/dot.go:3: dot import of os/exec: the new package has the same names, but see to it that none is hidden
main.go: %
main.go:12: Run is exported with exec.Cmd in its type: for its importers that changes
main.go:15: own is passed to example.com/pty.Start: if that wants an *os/exec.Cmd, example.com/pty has to move as well
main.go:16: os.StartProcess still forks: vspawn.Start, or exec.Cmd, does the same
main.go:19: c is passed to example.com/pty.Start: if that wants an *os/exec.Cmd, example.com/pty has to move as well
main_test.go: %
named.go: %
named.go:5: T is exported with exec.Cmd in its type: for its importers that changes
% 4 of 5 files; 6 places need a person
next: go get github.com/vspawn/vspawn/vspawn/exec && go vet ./...
`

// migrate changes imports and nothing else, and says what needs a person.
func TestMigrate(t *testing.T) {
	const main = `package p

import (
	"fmt"
	"os"
	"os/exec"

	"example.com/pty"
)

// Run is exported.
func Run(c *exec.Cmd) {
	own := exec.Command("x")
	fmt.Println(own)
	pty.Start(own)
	os.StartProcess("x", nil, nil)
}

func unexported(c *exec.Cmd) { pty.Start(c) }
`
	tree := map[string]string{
		"main.go":           main,
		"named.go":          "package p\n\nimport e \"os/exec\"\n\ntype T struct{ C   *e.Cmd }\n", // not formatted
		"dot/dot.go":        "package dot\n\nimport . \"os/exec\"\n\nvar C = Command(\"x\")\n",
		"other/other.go":    "package other\n\nimport exec \"example.com/os/exec\"\n\nvar C *exec.Cmd\n",
		"main_test.go":      "package p\n\nimport \"os/exec\"\n\nfunc Helper() *exec.Cmd { return nil }\n",
		"vendor/v/v.go":     "package v\n\nimport \"os/exec\"\n",
		"testdata/t.go":     "package t\n\nimport \"os/exec\"\n",
		"nested/go.mod":     "module nested\n",
		"nested/nested.go":  "package nested\n\nimport \"os/exec\"\n",
		"not-go/os-exec.md": "\"os/exec\"\n",
	}
	files(t, tree)
	var dry, out strings.Builder
	if status := run(&dry, &out, []string{"-n"}); status != 0 || dry.String() != strings.ReplaceAll(report, "%", "would change") {
		t.Errorf("-n: status %d\n%s%s", status, &dry, &out)
	}
	check := func(want map[string]string) {
		t.Helper()
		for name, text := range tree {
			if w, ok := want[name]; ok {
				text = w
			}
			if got, err := os.ReadFile(name); err != nil || string(got) != text {
				t.Errorf("%s: %v, got\n%s\nwant\n%s", name, err, got, text)
			}
		}
		if left, _ := filepath.Glob(".*"); left != nil {
			t.Errorf("left behind: %s", left)
		}
	}
	check(nil)
	if status := run(&out, os.Stderr, nil); status != 0 || out.String() != strings.ReplaceAll(report, "%", "changed") {
		t.Errorf("status %d\n%s", status, &out)
	}
	own := strings.NewReplacer(`"os/exec"`, `"github.com/vspawn/vspawn/vspawn/exec"`)
	check(map[string]string{
		"main.go": strings.Replace(main, "\t\"os\"\n\t\"os/exec\"\n",
			"\t\"github.com/vspawn/vspawn/vspawn/exec\"\n\t\"os\"\n", 1), // sorted
		"named.go":     own.Replace(tree["named.go"]),
		"dot/dot.go":   own.Replace(tree["dot/dot.go"]),
		"main_test.go": own.Replace(tree["main_test.go"]),
	})
	if info, err := os.Stat("main.go"); err != nil || info.Mode().Perm() != 0o640 {
		t.Error(info.Mode(), err)
	}
}

const importer = "package p\n\nimport \"os/exec\"\n\nvar C *exec.Cmd\n"

// The test binary is the command itself when this variable is set.
const asCommand = "VSPAWN_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run(os.Stdout, os.Stderr, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// migrated gives the status of the command in a child, and what it says. Files
// may be as long as limit, if that is not 0.
func migrated(t *testing.T, user, limit int) (status int, text string) {
	t.Helper()
	var out strings.Builder
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asCommand+"=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Attr = &vspawn.Attr{}
	if limit > 0 {
		n := uint64(limit)
		cmd.Attr.Rlimits = []vspawn.Rlimit{{Resource: unix.RLIMIT_FSIZE, Soft: n, Hard: n}}
		cmd.Attr.IgnoreSignals = []syscall.Signal{unix.SIGXFSZ}
	}
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}}
	}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// A file that was changed is the same file: its owner, group, mode, other names
// and attributes are what they were.
func TestMigrateKeepsTheFile(t *testing.T) {
	files(t, map[string]string{"a.go": importer})
	if os.Getuid() == 0 {
		if err := os.Chown("a.go", 1234, 2345); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Link("a.go", "link"), os.Chmod("a.go", 0o604|os.ModeSticky)); err != nil {
		t.Fatal(err)
	}
	attribute := unix.Setxattr("a.go", "user.vspawn", []byte("x"), 0) // not every file system has them
	var was, is unix.Stat_t
	if err := unix.Stat("a.go", &was); err != nil {
		t.Fatal(err)
	}
	if status := run(io.Discard, os.Stderr, nil); status != 0 {
		t.Fatal("status ", status)
	}
	if err := unix.Stat("a.go", &is); err != nil {
		t.Fatal(err)
	}
	if is.Ino != was.Ino || is.Uid != was.Uid || is.Gid != was.Gid || is.Mode != was.Mode || is.Nlink != was.Nlink {
		t.Errorf("got %+v\nwas %+v", is, was)
	}
	if text, err := os.ReadFile("link"); err != nil || !strings.Contains(string(text), ownExec) {
		t.Errorf("by its other name: %s, %v", text, err)
	}
	if n, err := unix.Getxattr("a.go", "user.vspawn", nil); attribute == nil && (n != 1 || err != nil) {
		t.Error("the attribute is gone: ", err)
	}
}

// A directory may be named by a symbolic link. One to a file is left alone: the
// file may be another module's.
func TestMigrateLinks(t *testing.T) {
	files(t, map[string]string{"real/a.go": importer, "other": importer})
	if err := errors.Join(os.Symlink("real", "dir"), os.Symlink("../other", "real/b.go")); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	status := run(&out, os.Stderr, []string{"dir"})
	if status != 0 || !strings.HasPrefix(out.String(), "dir/a.go: changed\n") || !strings.Contains(out.String(), "\nchanged 1 of 1 files") {
		t.Errorf("status %d, %s", status, &out)
	}
	if text, err := os.ReadFile("other"); err != nil || string(text) != importer {
		t.Errorf("%s, %v", text, err)
	}
	if link, err := os.Readlink("real/b.go"); err != nil || link != "../other" {
		t.Error(link, err)
	}
}

// If one file must not be written, none is.
func TestMigrateReadOnly(t *testing.T) {
	files(t, map[string]string{"a.go": importer, "b.go": importer})
	const user = 1234
	for name, mode := range map[string]os.FileMode{".": 0o755, "a.go": 0o644, "b.go": 0o444} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 {
			if err := os.Chown(name, user, user); err != nil {
				t.Fatal(err)
			}
		}
	}
	if status, text := migrated(t, user, 0); status != 2 || !strings.Contains(text, "nothing was changed: open b.go: permission denied\n") {
		t.Errorf("status %d, %s", status, text)
	}
	unchanged(t, "a.go", "b.go")
}

// When a file can't be written to its end, its text is as before. It may be
// half written by then, as the new text is the longer one.
func TestMigrateFull(t *testing.T) {
	files(t, map[string]string{"a.go": importer})
	status, text := migrated(t, os.Getuid(), len(importer)+5)
	if status != usage.StatusFailed || !strings.Contains(text, "a.go: file too large") {
		t.Errorf("status %d, %s", status, text)
	}
	unchanged(t, "a.go")
}

// unchanged checks that the files, and no others, are there as before.
func unchanged(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if text, err := os.ReadFile(name); err != nil || string(text) != importer {
			t.Errorf("%s: %v, %s", name, err, text)
		}
	}
	if all, err := os.ReadDir("."); err != nil || len(all) != len(names) {
		t.Error(all, err)
	}
}

// What can't be read changes nothing, and is bad usage.
func TestMigrateErrors(t *testing.T) {
	files(t, map[string]string{"a.go": "package a\n\nimport \"os/exec\"\n", "b/b.go": "package b\n\nfunc {\n"})
	for _, c := range []struct{ args, want string }{
		{"", "nothing was changed: b/b.go:3:6:"},
		{"none", "none is not a directory"},
		{"a.go", "a.go is not a directory"},
		{"-x", "unknown option -x: want -n"},
	} {
		var out, err strings.Builder
		status := run(&out, &err, strings.Fields(c.args))
		if status != 2 || out.Len() > 0 || !strings.HasPrefix(err.String(), "vspawn-migrate: "+c.want) || strings.Count(err.String(), "\n") != 1 {
			t.Errorf("%s: status %d, %s%s", c.args, status, &out, &err)
		}
	}
	if got, _ := os.ReadFile("a.go"); !strings.Contains(string(got), "os/exec") {
		t.Errorf("changed to %s", got)
	}
}
