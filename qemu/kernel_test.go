package qemu

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeKernel puts a kernel image into the cache that has the right looks.
func fakeKernel(t *testing.T, k Kernels, target Target) string {
	t.Helper()
	dir := filepath.Join(k.Dir, target.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "vmlinuz")
	m := target.Magic[0]
	if err := os.WriteFile(file, append(make([]byte, m.Offset), m.Bytes...), 0o644); err != nil {
		t.Fatal(err)
	}
	sum, err := fileSHA256(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(Kernel{Package: "linux-image-test_1", File: "vmlinuz", SHA256: sum})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kernel.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// noAPT makes any call of apt fail.
func noAPT(t *testing.T) { t.Setenv("PATH", t.TempDir()) }

func TestCachedKernelNeedsNoAPT(t *testing.T) {
	noAPT(t)
	k := Kernels{t.TempDir()}
	file := fakeKernel(t, k, Targets[0])
	got, err := k.Get(t.Context(), Targets[:1], false, func(s Status) { t.Errorf("%s: %s", s.Target, s) })
	if err != nil {
		t.Fatal(err)
	}
	if kernel := got[Targets[0].Name]; kernel.Path != file || kernel.Package != "linux-image-test_1" {
		t.Errorf("kernel: %+v", kernel)
	}
}

// TestChangedKernelIsFetched wants an error that tells what to do, as apt is
// not to be had.
func TestChangedKernelIsFetched(t *testing.T) {
	noAPT(t)
	k := Kernels{t.TempDir()}
	file := fakeKernel(t, k, Targets[0])
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	f.Close()
	fetched := false
	_, err = k.Get(t.Context(), Targets[:1], false, func(Status) { fetched = true })
	var usage *UsageError
	if !fetched || !errors.As(err, &usage) || !strings.Contains(err.Error(), "KERNEL_<target>=path") || strings.Contains(err.Error(), "\n") {
		t.Errorf("fetched: %v, error: %v", fetched, err)
	}
	if left, err := filepath.Glob(filepath.Join(k.Dir, ".fetch*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestGiven(t *testing.T) {
	k := Kernels{t.TempDir()}
	for _, target := range Targets {
		file := fakeKernel(t, k, target)
		if _, err := Given(target, file); err != nil {
			t.Errorf("%s: %v", target.Name, err)
		}
		for _, other := range Targets {
			// The images of one architecture look alike, with an MMU or without.
			if _, err := Given(other, file); err == nil && other.GOARCH != target.GOARCH {
				t.Errorf("%s takes the kernel of %s", other.Name, target.Name)
			}
		}
	}
	var usage *UsageError
	if _, err := Given(Targets[0], "/nowhere/vmlinuz"); !errors.As(err, &usage) || !strings.Contains(err.Error(), "/nowhere/vmlinuz") {
		t.Errorf("error: %v", err)
	}
}

func TestDebootstrapMirror(t *testing.T) {
	file := filepath.Join(t.TempDir(), "debootstrap")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nX=1\nDEF_MIRROR=\"http://mirror.example/debian\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := debootstrapMirror(file); got != "http://mirror.example/debian" {
		t.Errorf("mirror %q", got)
	}
	if got := debootstrapMirror(file + "-not"); got != "" {
		t.Errorf("mirror %q of no file", got)
	}
}
