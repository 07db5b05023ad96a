package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/usage"
)

func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = status(run(t.Context(), &out, &errs, args), &errs)
	return code, out.String(), errs.String()
}

func TestBuildAndInfo(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{
		"go.mod":      "module example.org/m\n\ngo 1.25.0\n",
		"a/main.go":   "package main\n\nfunc main() {}\n",
		"b/main.go":   "package main\n\nfunc main() {}\n",
		"b/b_test.go": "package main\n\nimport \"testing\"\n\nfunc TestB(*testing.T) {}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if code, out, errs := command(t, "build", "-trimpath", "-stack", "1M", "-o", "bin/", "./..."); code != 0 || out+errs != "" {
		t.Fatalf("build: %d %s%s", code, out, errs)
	}
	if code, out, errs := command(t, "test", "-c", "-maxorder=11", "-o", "b.test", "./b"); code != 0 || out+errs != "" {
		t.Fatalf("test: %d %s%s", code, out, errs)
	}
	code, out, errs := command(t, "info", "bin/a", "bin/b", "b.test")
	if code != 0 || errs != "" || strings.Count(out, "1024 KiB") != 2 || strings.Count(out, "relocations") != 3 {
		t.Errorf("info: %d\n%s%s", code, out, errs)
	}
	if code, _, errs := command(t, "build", "-o", "none", "./c"); code != usage.StatusFailed || !strings.Contains(errs, "directory not found") {
		t.Errorf("a package that is not there: %d %s", code, errs)
	}
}

func TestBadUsage(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"", "no command"},
		{"run", `unknown command "run"`},
		{"info", "no file given"},
		{"info " + text, "not an ELF file"},
		{"info /bin/sh", "not for riscv64"},
		{"test ./...", "-c must come first"},
		{"build -stack", "-stack has no value"},
		{"build -stack 1Q .", "-stack 1Q: not a size"},
		{"build -stack 4K .", "a stack of 4096 bytes"},
		{"build -maxorder=30 .", "a MAX_PAGE_ORDER of 30"},
		{"build -maxorder=0 .", "-maxorder 0: it must be above 0"},
		{"build -stack 0K .", "-stack 0K: it must be above 0"},
		{"build -maxorder=x .", "-maxorder x:"},
		{"build -race .", "-race is not for this target"},
		{"build -buildmode=plugin .", "-buildmode=plugin is not for this target"},
	} {
		code, out, errs := command(t, strings.Fields(c.args)...)
		if code != usage.StatusUsage || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: %d %s%s; want one line with %q", c.args, code, out, errs, c.want)
		}
	}
}
