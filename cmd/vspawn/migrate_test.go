//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	var dry, out strings.Builder
	if status := run(&dry, &out, []string{"migrate", "-n"}); status != 0 || dry.String() != strings.ReplaceAll(report, "%", "would change") {
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
		if left, _ := filepath.Glob(".vspawn*"); left != nil {
			t.Errorf("left behind: %s", left)
		}
	}
	check(nil)
	if status := run(&out, os.Stderr, []string{"migrate"}); status != 0 || out.String() != strings.ReplaceAll(report, "%", "changed") {
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

// What can't be read changes nothing, and is bad usage.
func TestMigrateErrors(t *testing.T) {
	files(t, map[string]string{"a.go": "package a\n\nimport \"os/exec\"\n", "b/b.go": "package b\n\nfunc {\n"})
	for _, c := range []struct{ args, want string }{
		{"", "migrate: nothing was changed: b/b.go:3:6:"},
		{"none", "migrate: none is not a directory"},
		{"a.go", "migrate: a.go is not a directory"},
		{"-x", "migrate: unknown option -x: want -n"},
	} {
		var out, err strings.Builder
		status := run(&out, &err, append([]string{"migrate"}, strings.Fields(c.args)...))
		if status != 2 || out.Len() > 0 || !strings.HasPrefix(err.String(), "vspawn: "+c.want) || strings.Count(err.String(), "\n") != 1 {
			t.Errorf("migrate %s: status %d, %s%s", c.args, status, &out, &err)
		}
	}
	if got, _ := os.ReadFile("a.go"); !strings.Contains(string(got), "os/exec") {
		t.Errorf("changed to %s", got)
	}
}
