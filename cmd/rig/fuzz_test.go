package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each package with a call of F.Fuzz has a target that is found in its sources.
func TestFuzzTargets(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	dirs, err := sourceDirs()
	if err != nil {
		t.Fatal(err)
	}
	found, err := fuzzTargets(".", dirs)
	if err != nil {
		t.Fatal(err)
	}
	has := func(dir string) bool {
		return slices.ContainsFunc(found, func(f fuzzTarget) bool { return f.dir == dir })
	}
	out, err := exec.Command("grep", append([]string{"-rlE", "--include=*_test.go", `\.Fuzz\(func\(`}, dirs...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	for file := range strings.FieldsSeq(string(out)) {
		dir := "./" + filepath.ToSlash(filepath.Dir(file))
		if !strings.Contains(dir, "testdata") && dir != "./cmd/rig" && !has(dir) { // here they are in a string
			t.Errorf("%s has a fuzz target that is not found", file)
		}
	}
	for _, name := range []fuzzTarget{{"./tests", "FuzzDescriptors"}, {"./vspawn", "FuzzCompile"}, {"./cmd/vspawn", "FuzzFlags"},
		{"./qemu", "FuzzRecords"}, {"./nommu", "FuzzReadProgram"}} {
		if !slices.Contains(found, name) {
			t.Errorf("%s is not found among %v", name, found)
		}
	}
}

// fakeTargets are a package with a target that is well, one whose seed fails, and one
// that fails by what the fuzzer finds.
const fakeTargets = `package fake

import "testing"

func FuzzWell(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {})
}

func FuzzSeed(f *testing.F) {
	f.Add(1)
	f.Fuzz(func(t *testing.T, n int) { t.Error("no") })
}

func FuzzFound(f *testing.F) {
	f.Add(1)
	f.Fuzz(func(t *testing.T, n int) {
		if n != 1 {
			t.Error("found")
		}
	})
}
`

// A failing target is said with its input, and does not keep the others from their
// turn.
func TestFuzzFails(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"go.mod": "module fake\n\ngo 1.25\n", "a/fake_test.go": fakeTargets} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	targets, err := fuzzTargets(".", []string{"a"})
	if err != nil || len(targets) != 3 {
		t.Fatalf("found %v, %v", targets, err)
	}
	byName := func(a, b fuzzTarget) int { return strings.Compare(a.name, b.name) }
	slices.SortFunc(targets, byName) // FuzzFound, FuzzSeed, FuzzWell
	var out bytes.Buffer
	err = fuzzAll(t.Context(), targets, time.Second, []string{"GOWORK=off"}, &out)
	if !errors.Is(err, errFailed) {
		t.Errorf("error: %v", err)
	}
	inputs, _ := filepath.Glob("a/testdata/fuzz/FuzzFound/*")
	if len(inputs) != 1 {
		t.Fatalf("failing inputs: %q\n%s", inputs, &out)
	}
	lines := strings.Split(out.String(), "\n")
	for _, want := range []struct{ begin, end string }{
		{"./a FuzzFound ", "FAILED: " + inputs[0]},
		{"./a FuzzSeed ", "FAILED: seed#0"},
		{"./a FuzzWell ", "ok"},
		{"FAILED ./a FuzzFound", "repeat: go test ./a -run '^FuzzFound$/^" + filepath.Base(inputs[0]) + "$'"},
	} {
		if !slices.ContainsFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, want.begin) && strings.HasSuffix(strings.TrimSpace(l), want.end)
		}) {
			t.Errorf("no line %q … %q in\n%s", want.begin, want.end, &out)
		}
	}
}

// A target for which there is nothing to run fails too.
func TestFuzzCannotRun(t *testing.T) {
	t.Chdir(t.TempDir())
	var out bytes.Buffer
	err := fuzzAll(t.Context(), []fuzzTarget{{"./none", "FuzzX"}}, time.Second, []string{"GOWORK=off"}, &out)
	if !errors.Is(err, errFailed) || !strings.Contains(out.String(), "FAILED: exit status 1") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// Progress comes in pieces of any length.
func TestFuzzOutput(t *testing.T) {
	r := fuzzResult{fuzzTarget: fuzzTarget{"./a", "FuzzX"}}
	w := &fuzzOutput{result: &r}
	io.WriteString(w, "failure while testing seed corpus entry: FuzzX/seed#3\n")
	if r.failing != "seed#3" {
		t.Errorf("got %+v", r)
	}
	for _, b := range []byte("fuzz: elapsed: 3s, execs: 766 (255/sec), new interesting: 2 (total: 10)\n" +
		"fuzz: elapsed: 1m6s, execs: 3156 (797/sec), new interesting: 4 (total: 12)\n" +
		"    Failing input written to testdata/fuzz/FuzzX/1a2b\n") {
		w.Write([]byte{b})
	}
	if r.execs != 3156 || r.new != 4 || r.failing != "a/testdata/fuzz/FuzzX/1a2b" {
		t.Errorf("got %+v", r)
	}
}
