package qemu

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakeSource packs a source that is configured and compiled in no time, by a
// makefile of the test's.
func fakeSource(t *testing.T, image string) (deb string) {
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
		"pkg/DEBIAN/control":                 "Package: linux-source-0\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: none\n",
		"pkg/usr/src/other":                  "",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"tar", "-cJf", "pkg/usr/src/linux-source-0.tar.xz", "linux-source-0"},
		{"dpkg-deb", "--build", "pkg", "source.deb"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if _, err := runTool(cmd); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "source.deb")
}

var testSource = Source{Arch: "test", Cross: "x-", Config: []string{"riscv64-nommu.config"}, Flags: "-DX", Image: "arch/test/boot/Image"}

// buildFake builds with the variables that a make above would leave.
func buildFake(t *testing.T, ctx context.Context, image string) (dir, log string, said []string, err error) {
	t.Helper()
	t.Setenv("MAKEFLAGS", " -- TARGET=riscv64-nommu")
	t.Setenv("TARGET", "riscv64-nommu")
	deb := fakeSource(t, image)
	dir = t.TempDir()
	log = filepath.Join(dir, "log")
	file, err := testSource.build(ctx, deb, dir, log, func(phase, detail string) {
		said = append(said, strings.TrimSuffix(phase+" "+detail, " "))
	})
	if err == nil && file != "Image" {
		t.Errorf("the kernel is %q", file)
	}
	return dir, log, said, err
}

// A build tells of each step, leaves the image, and nothing of the source.
func TestBuildKernel(t *testing.T) {
	dir, log, said, err := buildFake(t, t.Context(), "\ttest -e drivers/gpu/Kconfig -a ! -e drivers/gpu/large.c\n\techo '$(ARCH) $(CROSS_COMPILE) $(KCFLAGS)' >arch/test/boot/Image\n")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "Image")); string(got) != "test x- -DX\n" {
		t.Errorf("image: %q, %v", got, err)
	}
	want := []string{"unpacking the kernel's source", "configuring the kernel", "compiling the kernel",
		"compiling the kernel file 1: init/main.o", "compiling the kernel file 2: mm/nommu.o", "removing the kernel's source"}
	if !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "source")); err == nil {
		t.Error("the source is left")
	}
	if got, err := os.ReadFile(log); !strings.Contains(string(got), "init/main.o") {
		t.Errorf("log: %q, %v", got, err)
	}
}

func TestBuildKernelFails(t *testing.T) {
	_, log, _, err := buildFake(t, t.Context(), "\t@echo 'mm/nommu.c:1: error: no such memory' >&2; exit 1\n")
	if err == nil || !strings.Contains(err.Error(), "mm/nommu.c:1: error: no such memory") || !strings.Contains(err.Error(), log) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error: %v", err)
	}
}

// An interrupt ends all that make has started.
func TestBuildKernelInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(2*time.Second, cancel)
	start := time.Now()
	_, _, _, err := buildFake(t, ctx, "\tsleep 1000 & sleep 1000\n")
	if !errors.Is(err, context.Canceled) || time.Since(start) > time.Minute {
		t.Errorf("error %v after %v", err, time.Since(start))
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

// The kernels of all rows are built from different things, and each line of
// their files is an option or a comment.
func TestSources(t *testing.T) {
	seen := map[string]string{}
	for _, target := range Targets {
		if target.Source == nil {
			continue
		}
		in := target.Source.inputs()
		if other := seen[in]; other != "" {
			t.Errorf("%s and %s would share a kernel", target.Name, other)
		}
		seen[in] = target.Name
		lines := 0
		for _, file := range target.Source.Config {
			for line := range strings.Lines(target.Source.config(file)) {
				if strings.HasPrefix(line, "CONFIG_") || strings.HasSuffix(line, " is not set\n") {
					lines++
				} else if line != "\n" && line[0] != '#' {
					t.Errorf("%s: %q is no option", file, line)
				}
			}
		}
		if n := len(target.Source.options()); n == 0 || n > lines {
			t.Errorf("%s: %d options from %d lines", target.Name, n, lines)
		}
	}
	other := testSource
	other.Flags += "Y"
	if other.inputs() == testSource.inputs() {
		t.Error("other flags make the same kernel")
	}
}
