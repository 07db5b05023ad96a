package arch

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func goCommand(t *testing.T, goarch string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+goarch)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	return out
}

// The table has what this release of Go has, and no more.
func TestAll(t *testing.T) {
	var want, got []string
	for _, platform := range strings.Fields(string(goCommand(t, "", "tool", "dist", "list"))) {
		if goarch, ok := strings.CutPrefix(platform, "linux/"); ok {
			want = append(want, goarch)
		}
	}
	for _, a := range All {
		got = append(got, a.GOARCH)
		if a.QEMU == "" || a.System == "" || a.SystemPackage == "" {
			t.Errorf("%s: something is missing in %+v", a.GOARCH, a)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table has %q, go tool dist list has %q", got, want)
	}
}

// The variable is what go env says for the architecture, and for no other.
func TestVariable(t *testing.T) {
	own := func(goarch string) map[string]string {
		var env map[string]string
		if err := json.Unmarshal(goCommand(t, goarch, "env", "-json"), &env); err != nil {
			t.Fatal(err)
		}
		return env
	}
	none := own("s390x") // which has none
	for _, a := range All {
		var got []string
		for name := range own(a.GOARCH) {
			if _, ok := none[name]; !ok {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != a.Variable {
			t.Errorf("%s: go env has %q of its own, the table %q", a.GOARCH, s, a.Variable)
		}
	}
}

// The stubs are those that package asm has files for.
func TestStubs(t *testing.T) {
	for _, pattern := range []string{"asm_linux_%.s", "defs_linux_%.go"} {
		before, after, _ := strings.Cut(pattern, "%")
		files, err := filepath.Glob("../../asm/" + before + "*" + after)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, f := range files {
			got[strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), before), after)] = true
		}
		want := map[string]bool{}
		for _, a := range WithStubs() {
			want[a.GOARCH] = true
		}
		if !maps.Equal(got, want) {
			t.Errorf("asm/%s: there are %v, the table has %v", pattern, got, want)
		}
	}
}

func TestList(t *testing.T) {
	if got := List("or"); !strings.HasPrefix(got, "amd64, arm64") || !strings.HasSuffix(got, " or riscv64") && !strings.HasSuffix(got, " or s390x") {
		t.Errorf("got %q", got)
	}
	if a := Of("vax"); a.Debian != "vax" || a.User() != "qemu-vax" || Of("arm64").SystemProgram() != "qemu-system-aarch64" {
		t.Error(a)
	}
}
