package qemu

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// fakeEmulator makes a program that is of a version.
func fakeEmulator(t *testing.T, dir, name, version string) {
	t.Helper()
	script := fmt.Sprintf("#!/bin/sh\necho 'QEMU emulator version %s (Debian)'\n", version)
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestMajorVersion(t *testing.T) {
	dir := t.TempDir()
	for version, want := range map[string]int{"7.2.9": 7, "10.0.2": 10} {
		fakeEmulator(t, dir, "emulator", version)
		if got, err := majorVersion(t.Context(), filepath.Join(dir, "emulator")); got != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", version, got, err, want)
		}
	}
	for _, program := range []string{"true", "false", filepath.Join(dir, "none")} {
		if got, err := majorVersion(t.Context(), program); err == nil {
			t.Errorf("%s is taken for an emulator of version %d", program, got)
		}
	}
}

// Where the emulators will do, nothing is fetched; where there are newer ones in
// the cache, the targets that gain by them have them.
func TestNewerEmulators(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("XDG_CACHE_HOME", cache)
	say := func(s string) { t.Error(s) }
	target := Targets[0]
	other := target
	other.OldQEMU = true
	check := func(want string) {
		t.Helper()
		got, err := NewerEmulators(t.Context(), []Target{target, other}, say)
		if err != nil || len(got) != 2 || got[0].QEMU != want || got[1].QEMU != target.QEMU {
			t.Errorf("%+v, %v; want the emulator %q", got, err, want)
		}
	}
	fakeEmulator(t, dir, target.QEMU, "10.0.2")
	check(target.QEMU)
	fakeEmulator(t, dir, target.QEMU, "7.2.9")
	release, err := debianRelease("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	if release == "" { // there are no backports
		check(target.QEMU)
		return
	}
	newer := filepath.Join(cache, "vspawn", "emulators", release)
	if err := os.MkdirAll(newer, 0o755); err != nil {
		t.Fatal(err)
	}
	fakeEmulator(t, newer, target.QEMU, "10.0.2")
	check(filepath.Join(newer, target.QEMU))
	fakeEmulator(t, dir, target.QEMU, "none")
	if got, err := NewerEmulators(t.Context(), []Target{target}, say); err == nil || len(got) != 1 || got[0].QEMU != target.QEMU {
		t.Errorf("with an emulator that says no version: %+v, %v", got, err)
	}
}

func TestDebianRelease(t *testing.T) {
	for text, want := range map[string]string{
		"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n": "bookworm",
		"ID=\"debian\"\nVERSION_CODENAME='bookworm'\n":                                           "bookworm",
		"ID=debian\n": "", // unstable
		"ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=jammy\n": "",
		"": "",
	} {
		file := filepath.Join(t.TempDir(), "os-release")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := debianRelease(file); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	if _, err := debianRelease(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error without a file")
	}
}
