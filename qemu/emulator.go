package qemu

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// slowQEMU is the last major version of QEMU that is replaced if it can be:
// Debian 12 has 7.2, and 10.0 among its backports, which takes three quarters of
// the time for our tests with an MMU, and half of it on riscv64. What is wrong in 7.2 is told at
// the rows of Targets.
const slowQEMU = 7

// NewerEmulators returns targets with newer emulators, where the machine's are
// old. They come from the backports of the machine's own release of Debian, are
// kept in the user's cache, and use the libraries and the firmware of the
// installed ones, which stay as they are. say is told what takes time. The targets
// are good to run also if there is an error.
func NewerEmulators(ctx context.Context, targets []Target, say func(string)) ([]Target, error) {
	old := map[string]string{} // emulators' packages
	for _, t := range targets {
		if t.OldQEMU {
			continue
		}
		major, err := majorVersion(ctx, t.QEMU)
		if err != nil {
			return targets, err
		}
		if major <= slowQEMU {
			old[t.QEMU], _, _ = strings.Cut(t.Package, "|")
		}
	}
	release, err := debianRelease("/etc/os-release")
	if err != nil || release == "" || len(old) == 0 {
		return targets, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return targets, err
	}
	dir := filepath.Join(cache, "vspawn", "emulators", release)
	unlock, err := lockDir(ctx, dir, func() { say("waiting for another run to have its emulators") })
	if err != nil {
		return targets, err
	}
	defer unlock()
	missing := maps.Clone(old)
	maps.DeleteFunc(missing, func(program, _ string) bool {
		_, err := majorVersion(ctx, filepath.Join(dir, program))
		return err == nil
	})
	if len(missing) > 0 {
		say("fetching newer emulators from " + release + "-backports")
		if err := fetchEmulators(ctx, dir, release+"-backports", missing); err != nil {
			return targets, err
		}
	}
	newer := slices.Clone(targets)
	for i, t := range newer {
		if old[t.QEMU] != "" && !t.OldQEMU {
			newer[i].QEMU = filepath.Join(dir, t.QEMU)
		}
	}
	return newer, nil
}

// fetchEmulators puts programs, which are in the packages given, into dir.
func fetchEmulators(ctx context.Context, dir, suite string, programs map[string]string) error {
	tmp, err := workDir(dir)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	arch := runtime.GOARCH // Debian and Go agree on those of machines that run this
	a, err := newAPT(ctx, tmp, suite, []string{arch})
	if err != nil {
		return err
	}
	if err := a.update(ctx); err != nil {
		return err
	}
	for program, pkg := range programs {
		into, err := os.MkdirTemp(tmp, pkg)
		if err != nil {
			return err
		}
		deb, err := a.download(ctx, into, pkg, arch)
		if err != nil {
			return err
		}
		name, err := unpack(ctx, deb, "/usr/bin", program, into, 0o755)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", pkg, suite, err)
		}
		// One that lacks a library says so here.
		file := filepath.Join(into, name)
		if _, err := majorVersion(ctx, file); err != nil {
			return fmt.Errorf("%s of %s: %w", pkg, suite, err)
		}
		if err := os.Rename(file, filepath.Join(dir, program)); err != nil {
			return err
		}
	}
	return nil
}

var emulatorVersion = regexp.MustCompile(`^QEMU emulator version (\d+)\.`)

func majorVersion(ctx context.Context, program string) (int, error) {
	out, err := runTool(exec.CommandContext(ctx, program, "--version"))
	if err != nil {
		return 0, err
	}
	m := emulatorVersion.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s --version says %q, and no version of QEMU", program, out)
	}
	return strconv.Atoi(string(m[1]))
}

// debianRelease is the code name that an os-release file gives, or "" if the
// system is not Debian itself.
func debianRelease(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	values := map[string]string{}
	s := bufio.NewScanner(f)
	for s.Scan() {
		key, value, _ := strings.Cut(s.Text(), "=")
		values[key] = strings.Trim(value, `"'`)
	}
	if values["ID"] != "debian" {
		return "", s.Err()
	}
	return values["VERSION_CODENAME"], s.Err()
}
