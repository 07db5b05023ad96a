package gobuild

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/usage"
)

// module makes a module with a program, a test of its own, and a package that is
// neither.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module github.com/vspawn/vspawn\n\ngo 1.25\n")
	write(t, filepath.Join(dir, "hello", "main.go"), `package main

import "runtime"

// inlined tells whether the compiler inlined it.
func inlined() bool { return callerInlined() }

//go:noinline
func callerInlined() bool {
	pc := make([]uintptr, 1)
	frame, _ := runtime.CallersFrames(pc[:runtime.Callers(2, pc)]).Next()
	return frame.Func == nil
}

func main() { println("hello", inlined()) }
`)
	write(t, filepath.Join(dir, "hello", "main_test.go"), `package main

import (
	"os"
	"testing"
)

func TestInlined(t *testing.T) {
	if inlined() {
		os.Stdout.WriteString("inlined\n")
	}
}
`)
	write(t, filepath.Join(dir, "lib", "lib.go"), "package lib\n")
	return dir
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestToolchain(t *testing.T) {
	t.Parallel()
	tc := Toolchain{GOARCH: runtime.GOARCH, Dir: module(t), CacheDir: t.TempDir()}
	for _, tt := range []struct {
		name    string
		compile func() ([]Binary, error)
		want    string
	}{
		{"program", func() ([]Binary, error) { return tc.Programs(t.Context(), "./hello") }, "hello true\n"},
		{"test", func() ([]Binary, error) { return tc.Tests(t.Context(), false, "./...") }, "inlined\nPASS\n"},
		{"noinline test", func() ([]Binary, error) { return tc.Tests(t.Context(), true, "./hello") }, "PASS\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bins, err := tt.compile()
			if err != nil {
				t.Fatal(err)
			}
			if len(bins) != 1 || bins[0].Package != "github.com/vspawn/vspawn/hello" {
				t.Fatalf("compiled %+v, want hello alone", bins)
			}
			out, err := exec.Command(bins[0].Path).CombinedOutput()
			if string(out) != tt.want || err != nil {
				t.Errorf("ran %q, %v, want %q", out, err, tt.want)
			}
		})
	}
}

// Without inlining nothing is inlined in the workspace's other modules either.
func TestNoInlineInWorkspace(t *testing.T) {
	t.Parallel()
	tc := Toolchain{GOARCH: runtime.GOARCH, Dir: module(t), CacheDir: t.TempDir()}
	write(t, filepath.Join(tc.Dir, "go.work"), "go 1.25\n\nuse (\n\t.\n\t./part\n)\n")
	main, err := os.ReadFile(filepath.Join(tc.Dir, "hello", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(tc.Dir, "lib", "lib.go"), strings.NewReplacer("package main", "package lib",
		"func main() {", "func Print() {").Replace(string(main)))
	write(t, filepath.Join(tc.Dir, "part", "go.mod"), "module github.com/vspawn/vspawn/part\n\ngo 1.25\n")
	write(t, filepath.Join(tc.Dir, "part", "part_test.go"), `package part

import (
	"testing"

	"github.com/vspawn/vspawn/lib"
)

func Test(t *testing.T) { lib.Print() }
`)
	for noInline, want := range map[bool]string{false: "hello true\nPASS\n", true: "hello false\nPASS\n"} {
		bins, err := tc.Tests(t.Context(), noInline, "./part")
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(bins[0].Path).CombinedOutput(); string(out) != want || err != nil {
			t.Errorf("noInline %t: ran %q, %v, want %q", noInline, out, err, want)
		}
	}
}

func TestBrokenProgram(t *testing.T) {
	t.Parallel()
	tc := Toolchain{GOARCH: "riscv64", Dir: module(t), CacheDir: t.TempDir()}
	write(t, filepath.Join(tc.Dir, "hello", "main.go"), "package main\n\nfunc main() { nosuch() }\n")
	_, err := tc.Programs(t.Context(), "./hello")
	if err == nil || usage.Is(err) || !strings.Contains(err.Error(), "undefined: nosuch") {
		t.Errorf("got %v, want the compiler's words, and no mistake of the caller's", err)
	}
}
