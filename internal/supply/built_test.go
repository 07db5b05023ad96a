package supply

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/vspawn/vspawn/internal/host"
)

// fakeSource is a source's archive that is configured and compiled in no time, by a
// makefile of the test's.
func fakeSource(t *testing.T, image string) (archive string) {
	t.Helper()
	dir := t.TempDir()
	makefile := `
ifdef TARGET
$(error an outer make's variables came through)
endif
allnoconfig:
	grep -v TOO_NEW $(KCONFIG_ALLCONFIG) >.config
Image:
	@echo '  CC      init/main.o'
	@echo '  CC      mm/nommu.o'
	mkdir -p arch/test/boot
` + image
	for name, text := range map[string]string{
		"linux-source-0/Makefile":            makefile,
		"linux-source-0/drivers/gpu/Kconfig": "needed",
		"linux-source-0/drivers/gpu/large.c": "not needed",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("tar", "-cJ", "linux-source-0")
	cmd.Dir = dir
	out, err := host.Output(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// source adds a kernel's source to a suite, which is the same for all.
func (m *testMirror) source(suite, version, image string) {
	m.t.Helper()
	m.add(suite, pkg{"linux-source-" + version, version + "-1", "all", "binutils, xz-utils", map[string]string{
		"usr/src/other": "",
		"usr/src/linux-source-" + version + ".tar.xz": fakeSource(m.t, image),
	}}, runtimeArch)
	m.add(suite, pkg{"linux-source", version + "-1", "all", "linux-source-" + version, nil}, runtimeArch)
}

var runtimeArch = debianArch(runtime.GOARCH)

const goodImage = "\ttest -e drivers/gpu/Kconfig -a ! -e drivers/gpu/large.c\n\techo 'KERNEL $(ARCH) $(CROSS_COMPILE) $(KCFLAGS)' >arch/test/boot/Image\n"

var configs = fstest.MapFS{
	"base.config": {Data: []byte("# all\nCONFIG_A=y\nCONFIG_B=y\n")},
	"last.config": {Data: []byte("# CONFIG_B is not set\n\nCONFIG_C=\"#\"\n")},
	"new.config":  {Data: []byte("CONFIG_TOO_NEW=y\n")},
}

var testBuilt = Built{Package: "linux-source", Suites: []Suite{{"trixie", "6.12"}}, Arch: "test", Cross: "x-", Compiler: "gcc-x",
	Files: configs, Config: []string{"base.config", "last.config"}, Flags: "-DX", Image: "arch/test/boot/Image", Magic: imageMagic}

// fakeTools stands for what no source of the test's needs. The cross compiler is
// of a version.
func fakeTools(t *testing.T, version string) {
	t.Helper()
	if err := host.CheckTools([]host.Tool{{Program: "make", Package: "make"}, {Program: "/usr/include/stdlib.h", Package: "libc6-dev"}}); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"x-gcc", "gcc", "flex", "bison", "bc"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho 'x-gcc "+version+"'\necho more\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	// What a make above would leave.
	t.Setenv("MAKEFLAGS", " -- TARGET=riscv64-nommu")
	t.Setenv("TARGET", "riscv64-nommu")
}

// A build tells of each step, leaves the image, and nothing of the source. Only the
// list of this machine's architecture is asked for.
func TestBuilt(t *testing.T) {
	m := newMirror(t)
	fakeTools(t, "12")
	m.source("trixie", "6.12", goodImage)
	m.kernel("trixie", "other", "6.12", nil)
	m.publish()
	m.change(listName("trixie", "other"), "\n")
	s := m.store()
	get := func(b Built, fresh bool) (Kernel, []string) {
		t.Helper()
		var heard said
		k, err := s.Get(t.Context(), b, fresh, heard.report)
		if err != nil {
			t.Fatal(err)
		}
		if left, err := filepath.Glob(filepath.Join(s.Dir, "work", "*", "entry*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		return k, heard.lines
	}
	k, lines := get(testBuilt, false)
	if got, err := os.ReadFile(k.Path); string(got) != "KERNEL test x- -DX\n" {
		t.Errorf("image: %q, %v", got, err)
	}
	if k.File != "Image" || k.Package != "linux-source-6.12" || k.Version != "6.12-1" || k.Compiler != "x-gcc 12" {
		t.Errorf("%+v", k)
	}
	want := []string{"fetching trixie's list for " + runtimeArch, "fetching linux-source-6.12 of trixie",
		"unpacking the kernel's source", "configuring the kernel", "compiling the kernel",
		"compiling the kernel, file 1: init/main.o", "compiling the kernel, file 2: mm/nommu.o", "removing the kernel's source"}
	if !slices.Equal(lines, want) {
		t.Errorf("said %q, want %q", lines, want)
	}
	if got, err := os.ReadFile(filepath.Dir(k.Path) + ".log"); !strings.Contains(string(got), "init/main.o") {
		t.Errorf("log: %q, %v", got, err)
	}
	if k, lines := get(testBuilt, false); len(lines) > 0 || k.Compiler != "x-gcc 12" {
		t.Errorf("cached: %+v, said %q", k, lines)
	}
	// Other options are another kernel, and so is another compiler.
	other := testBuilt
	other.Flags = "-DY"
	if k2, _ := get(other, false); k2.Path == k.Path {
		t.Error("one kernel for two sets of options")
	}
	fakeTools(t, "13")
	if k, _ := get(testBuilt, true); k.Compiler != "x-gcc 13" || k.Replaced != "" {
		t.Errorf("%+v", k)
	}
}

// A build that fails says where, and no other suite's source is tried.
func TestBuiltFails(t *testing.T) {
	m := newMirror(t)
	fakeTools(t, "12")
	m.source("trixie", "6.12", "\t@echo 'mm/nommu.c:1: error: no such memory' >&2; exit 1\n")
	m.source("forky", "7.2", goodImage)
	m.publish()
	s := m.store()
	b := testBuilt
	b.Suites = []Suite{{"trixie", ""}, {"forky", ""}}
	ignore := func(string, string) {}
	_, err := s.Get(t.Context(), b, false, ignore)
	if err == nil || !strings.Contains(err.Error(), "linux-source-6.12: ") || !strings.Contains(err.Error(), "mm/nommu.c:1: error: no such memory") ||
		!strings.Contains(err.Error(), ".log)") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error: %v", err)
	}
	b.Config = append(slices.Clone(b.Config), "new.config")
	if _, err := s.Get(t.Context(), b, false, ignore); err == nil || !strings.Contains(err.Error(), "this source takes no CONFIG_TOO_NEW=y: mend new.config") {
		t.Errorf("error: %v", err)
	}
	b.Config = []string{"none.config"}
	if _, err := s.Get(t.Context(), b, false, ignore); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error: %v", err)
	}
	b = testBuilt
	b.Magic = []Magic{{0, "other"}}
	b.Suites = []Suite{{"forky", ""}}
	if _, err := s.Get(t.Context(), b, false, ignore); err == nil || !strings.Contains(err.Error(), "is no kernel image") {
		t.Errorf("error: %v", err)
	}
}

// An interrupt ends all that make has started.
func TestBuiltInterrupted(t *testing.T) {
	m := newMirror(t)
	fakeTools(t, "12")
	m.source("trixie", "6.12", "\tsleep 1000.5 & sleep 1000.5\n")
	m.publish()
	ctx, cancel := context.WithCancel(t.Context())
	s := m.store()
	start := time.Now()
	_, err := s.Get(ctx, testBuilt, false, func(phase, detail string) {
		if strings.HasPrefix(detail, "file 2") {
			time.AfterFunc(300*time.Millisecond, cancel)
		}
	})
	if err != context.Canceled || time.Since(start) > time.Minute {
		t.Errorf("error %v after %v", err, time.Since(start))
	}
	if left := processesWith("1000.5"); len(left) > 0 {
		t.Errorf("still running: %q", left)
	}
	s.Close()
	if left := leftovers(t, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOptions(t *testing.T) {
	got, err := testBuilt.options()
	if err != nil || len(got) != 3 || got["CONFIG_B"] != "# CONFIG_B is not set" || got["CONFIG_A"] != "CONFIG_A=y" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRefusedOptions(t *testing.T) {
	options := map[string]string{"CONFIG_A": "CONFIG_A=y", "CONFIG_B": "CONFIG_B=y", "CONFIG_MMU": "# CONFIG_MMU is not set", "CONFIG_N": "# CONFIG_N is not set"}
	if got := refusedOptions(options, "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_MMU is not set\n"); got != nil {
		t.Errorf("refused: %q", got)
	}
	want := []string{"CONFIG_B=y", "# CONFIG_MMU is not set"}
	if got := refusedOptions(options, "CONFIG_A=y\nCONFIG_B=m\nCONFIG_MMU=y\n"); !slices.Equal(got, want) {
		t.Errorf("refused: %q, want %q", got, want)
	}
}

// Whatever decides about a kernel's bytes is in its name.
func TestInputs(t *testing.T) {
	seen := map[string]bool{testBuilt.inputs(): true}
	for _, change := range []func(b *Built){
		func(b *Built) { b.Flags += "Y" },
		func(b *Built) { b.Arch += "2" },
		func(b *Built) { b.Cross = "y-" },
		func(b *Built) { b.Image = "Image" },
		func(b *Built) { b.Config = b.Config[:1] },
		func(b *Built) { b.Config = []string{"last.config", "base.config"} },
		func(b *Built) {
			b.Files = fstest.MapFS{"base.config": configs["base.config"], "last.config": {Data: []byte("CONFIG_Z=y")}}
		},
	} {
		b := testBuilt
		change(&b)
		if seen[b.inputs()] {
			t.Errorf("%+v shares a kernel with another", b)
		}
		seen[b.inputs()] = true
	}
}
