package qemu

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	vmtest "github.com/hugelgupf/vmtest/qemu"

	"github.com/vspawn/vspawn/internal/arch"
	"github.com/vspawn/vspawn/internal/testkit/golden"
	"github.com/vspawn/vspawn/internal/usage"
)

// TestCommand keeps what QEMU is told, for people and for tests.
func TestCommand(t *testing.T) {
	for _, target := range Targets {
		run := target.Command(Boot{Kernel: "/kernel", Initramfs: "/image", Append: []string{"extra"}})
		test := target.testCommand(Boot{Kernel: "/kernel", Initramfs: "/image", Init: agentInit}, portFile)
		lines := "run:\n" + strings.Join(run, "\n") + "\n\ntest:\n" + strings.Join(test, "\n") + "\n"
		golden.Check(t, filepath.Join("testdata", "command-"+target.Name+".golden"), lines)
	}
}

// What vmtest starts is the line that it is given, whatever its variables say.
func TestStarts(t *testing.T) {
	for name, value := range map[string]string{
		"VMTEST_QEMU": "another-qemu", "VMTEST_QEMU_APPEND": "-another option", "VMTEST_KERNEL": "/another", "VMTEST_KERNEL_APPEND": "another",
		"VMTEST_INITRAMFS": "/another", "VMTEST_TIMEOUT": "1s",
	} {
		t.Setenv(name, value)
	}
	line := []string{"/a path/qemu", "-append", "a  b", ""}
	events := make(chan received)
	o, err := vmtest.OptionsFor(vmtest.Arch("amd64"), starts(line, nil), carries(events))
	if err != nil {
		t.Fatal(err)
	}
	defer o.ExtraFiles[0].Close()
	if got, err := o.Cmdline(); err != nil || !slices.Equal(got, line) {
		t.Errorf("%q, %v; want %q", got, err, line)
	}
	if len(o.ExtraFiles) != 1 || o.VMTimeout != 0 {
		t.Errorf("%d files, a limit of %v", len(o.ExtraFiles), o.VMTimeout)
	}
}

func TestSelect(t *testing.T) {
	for list, want := range map[string]string{
		"":                 "amd64 arm64 riscv64 riscv64-nommu",
		"riscv64-nommu":    "riscv64-nommu",
		"arm64":            "arm64",
		"riscv64,amd64":    "riscv64 amd64",
		" riscv64  amd64 ": "riscv64 amd64",
		"arm64,arm64":      "arm64",
	} {
		targets, err := Select(list)
		if err != nil {
			t.Errorf("Select(%q): %v", list, err)
		}
		var names []string
		for _, target := range targets {
			names = append(names, target.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("Select(%q) = %q, want %q", list, got, want)
		}
	}
	_, err := Select("arm64,vax")
	if !usage.Is(err) || !strings.Contains(err.Error(), `unknown target "vax": choose from amd64, arm64, riscv64`) {
		t.Errorf("error: %v", err)
	}
}

// TestRows finds a row that a copy left half changed.
func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, target := range Targets {
		if seen[target.Name] {
			t.Errorf("two rows are called %s", target.Name)
		}
		seen[target.Name] = true
		if !vmtest.Arch(target.GOARCH).Valid() {
			t.Errorf("%s: vmtest doesn't know the architecture %s", target.Name, target.GOARCH)
		}
		if arch.Of(target.GOARCH).GDB == "" {
			t.Errorf("%s: internal/arch has no GDB for %s", target.Name, target.GOARCH)
		}
		if len(target.Magic) == 0 || target.Kernel == nil || target.Package == "" || target.Accel == "" || target.CPUs < 1 ||
			target.MemoryMB == 0 {
			t.Errorf("%s: something is missing in %+v", target.Name, target)
		}
	}
}

func TestParseShard(t *testing.T) {
	for s, want := range map[string]Shard{"": {1, 1}, "1/1": {1, 1}, "2/3": {2, 3}, "10/10": {10, 10}} {
		if got, err := ParseShard(s); err != nil || got != want {
			t.Errorf("ParseShard(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"1", "0/3", "4/3", "1/3x", "1/3/5", "a/b", "-1/3", "/"} {
		if got, err := ParseShard(s); !usage.Is(err) {
			t.Errorf("ParseShard(%q) = %v, %v, want a usage error", s, got, err)
		}
	}
}
