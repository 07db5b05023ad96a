package nommu

import (
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// files writes a module and gives its directory.
func files(t *testing.T, text map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, s := range text {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(s), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const goMod = "module example.org/m\n\ngo 1.25.0\n"

// busy uses goroutines, timers, the collector, and more pointers in its data
// than code alone would have.
const busy = `package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

var version = "none"

var table = map[string]func(...any) string{"a": fmt.Sprint, "b": fmt.Sprintln}

func main() {
	var mu sync.Mutex
	var wg sync.WaitGroup
	sum := 0
	for i := range 100 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			time.Sleep(time.Millisecond)
			s := table["a"](make([]int, 1000)[0], i)
			mu.Lock()
			sum += len(s)
			mu.Unlock()
		}()
	}
	wg.Wait()
	runtime.GC()
	fmt.Println("version", version, "args", len(os.Args), "sum", sum)
}
`

func TestBuild(t *testing.T) {
	dir := files(t, map[string]string{"go.mod": goMod, "main.go": busy})
	out := filepath.Join(dir, "busy")
	if err := Build(t.Context(), Options{Dir: dir, Args: []string{"-o", out, "-ldflags=-X main.version=7", "."}}); err != nil {
		t.Fatal(err)
	}
	info, err := Inspect(out)
	if err != nil {
		t.Fatal(err)
	}
	if info.Relocations < 3000 || info.Table > info.Relocations || info.Stack != DefaultStack || info.Span < 1<<20 {
		t.Errorf("got %+v", info)
	}
	b, err := buildinfo.ReadFile(out)
	if err != nil || b.Path != "example.org/m" {
		t.Errorf("its build information: got %v, %v", b, err)
	}
	if got := emulate(t, out, "x", "y"); got != "version 7 args 3 sum 390\n" {
		t.Errorf("got %q", got)
	}
}

// emulate runs a program under qemu-user, whose memory is put below 4 GiB, and
// gives what it prints. There, unlike on the kernel that it is for, code and
// constants are write-protected; a copy has them writable.
func emulate(t *testing.T, file string, args ...string) string {
	t.Helper()
	qemu, err := exec.LookPath("qemu-riscv64")
	if err != nil {
		t.Skip("there is no qemu-riscv64 to run the program")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for at := headerSize; elf.ProgType(byteOrder.Uint32(b[at:])) != elf.PT_GNU_STACK; at += progSize {
		byteOrder.PutUint32(b[at+4:], uint32(elf.PF_R|elf.PF_W|elf.PF_X))
	}
	writable := filepath.Join(t.TempDir(), "writable")
	if err := os.WriteFile(writable, b, 0o777); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), qemu, append([]string{"-R", "0xe0000000", writable}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestBuildTests(t *testing.T) {
	dir := files(t, map[string]string{
		"go.mod":      goMod,
		"p_test.go":   "package p\n\nimport \"testing\"\n\nfunc TestIt(t *testing.T) { t.Log(\"it runs\") }\n",
		"q/q.go":      "package q\n",
		"q/q_test.go": "package q\n\nimport \"testing\"\n\nfunc TestQ(t *testing.T) {}\n",
	})
	if err := Build(t.Context(), Options{Test: true, Dir: dir, Args: []string{"-o", dir + "/", "./..."}}); err != nil {
		t.Fatal(err)
	}
	if got := emulate(t, filepath.Join(dir, "m.test"), "-test.v"); !strings.Contains(got, "it runs") || !strings.Contains(got, "PASS") {
		t.Errorf("got %q", got)
	}
	if _, err := Inspect(filepath.Join(dir, "q.test")); err != nil {
		t.Error(err)
	}
}

// Whatever the user can mend is told in one line, and leaves no file.
func TestBuildRefuses(t *testing.T) {
	const main = "package main\n\nfunc main() {}\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		opts  Options
		want  string
	}{
		{"cgo", map[string]string{"main.go": "package main\n\nimport \"C\"\n\nfunc main() {}\n"}, Options{}, "cgo is not for this target, and this uses it: example.org/m (main.go)"},
		{"cgo in a part", map[string]string{"main.go": "package main\n\nfunc main() { f() }\n", "f.go": "package main\n\nimport \"C\"\n\nfunc f() {}\n"}, Options{}, "cgo is not for this target, and this uses it: example.org/m (f.go)"},
		{"CGO_ENABLED", map[string]string{"main.go": main}, Options{Env: []string{"CGO_ENABLED=1"}}, "CGO_ENABLED=1"},
		{"plugin", map[string]string{"main.go": main}, Options{Args: []string{"-buildmode=plugin"}}, "-buildmode=plugin is not for this target"},
		{"GOFLAGS", map[string]string{"main.go": main}, Options{Env: []string{"GOFLAGS=-race"}}, "in GOFLAGS: -race is not for this target"},
		{"quoted GOFLAGS", map[string]string{"main.go": main}, Options{Env: []string{"GOFLAGS='-n'"}}, "in GOFLAGS: -n is not for this target"},
		{"go env -w", map[string]string{"main.go": main, "env": "GOFLAGS='-buildmode=pie'\n"}, Options{Env: []string{"GOENV=DIR/env", "GOFLAGS="}}, "in GOFLAGS: -buildmode=pie is not for this target"},
		{"FIPS mode", map[string]string{"main.go": main}, Options{Env: []string{"GOFIPS140=latest"}}, "GOFIPS140=latest"},
		{"race", map[string]string{"main.go": main}, Options{Args: []string{"-race"}}, "-race is not for this target"},
		{"too large", map[string]string{"main.go": "package main\n\nvar a [64 << 20]byte\n\nfunc main() { println(&a) }\n"}, Options{}, "KiB, and the kernel's largest block is 4096 KiB: build the kernel with KCFLAGS=-DCONFIG_ARCH_FORCE_MAX_ORDER=15"},
		{"another release of Go", map[string]string{"main.go": main}, Options{Env: []string{fakeGo + `{"GOROOT":"/none","GOVERSION":"go1.24.1"}`}}, "the go command is go1.24.1"},
		{"another runtime", map[string]string{"main.go": main}, Options{Env: []string{fakeGo + `{"GOROOT":"/none","GOVERSION":"go1.25.1"}`}}, "this Go release has no runtime/malloc.go"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.files["go.mod"] = goMod
			dir := files(t, c.files)
			out := filepath.Join(dir, "out")
			c.opts.Dir = dir
			for i, e := range c.opts.Env {
				c.opts.Env[i] = strings.ReplaceAll(e, "DIR", dir)
				if answer, ok := strings.CutPrefix(e, fakeGo); ok {
					t.Setenv("PATH", goThatSays(t, answer))
				}
			}
			c.opts.Args = append(c.opts.Args, "-o", out, ".")
			err := Build(t.Context(), c.opts)
			var input *InputError
			if !errors.As(err, &input) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v\nwant one line with %q", err, c.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("there is an output file")
			}
		})
	}
}

// What the environment asks of the linker is not for this target, and is not
// done. What the go command says by standard output is passed on.
func TestBuildEnvironment(t *testing.T) {
	dir := files(t, map[string]string{"go.mod": goMod, "main.go": "package main\n\nfunc main() {}\n", "bad/bad.go": "package bad\n\nvar a int = \"\"\n"})
	out := filepath.Join(dir, "out")
	if err := Build(t.Context(), Options{Dir: dir, Env: []string{"GO_EXTLINK_ENABLED=1"}, Args: []string{"-o", out, "."}}); err != nil {
		t.Error(err)
	}
	if _, err := Inspect(out); err != nil {
		t.Error(err)
	}
	if err := Build(t.Context(), Options{Dir: dir, Args: []string{"-json", "./bad"}}); err == nil || !strings.Contains(err.Error(), "bad/bad.go:3:13") {
		t.Errorf("got %v", err)
	}
}

// fakeGo begins an element of Options.Env with what a go command in PATH says
// instead of the real one.
const fakeGo = "FAKEGO="

func goThatSays(t *testing.T, answer string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\necho '"+answer+"'\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestInspectRefuses(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := files(t, map[string]string{"text": "no program"})
	for file, want := range map[string]string{
		exe:                        "not for riscv64",
		filepath.Join(dir, "text"): "not an ELF file",
		filepath.Join(dir, "none"): "no such file",
		dir:                        "not a regular file",
	} {
		var input *InputError
		if _, err := Inspect(file); !errors.As(err, &input) || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", file, err, want)
		}
	}
}
