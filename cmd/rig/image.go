package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/vspawn/vspawn/initramfs"
	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/qemu"
)

// programs are this module's commands in an image for people.
var programs = []string{"./cmd/vspawn"}

func buildImages(ctx context.Context, o *options, out *os.File) error {
	for _, t := range o.targets {
		if _, err := buildImage(ctx, t, out); err != nil {
			return err
		}
	}
	return nil
}

func buildImage(ctx context.Context, t qemu.Target, out *os.File) (string, error) {
	tc := t.Toolchain(".", filepath.Join(buildDir, "cache"))
	tc.Progress = func(s string) { fmt.Fprintf(out, "%s: %s\n", t.Name, s) }
	r, err := initramfs.Build(ctx, initramfs.Spec{
		Toolchain: tc,
		Programs:  programs,
		Out:       filepath.Join(buildDir, t.Name, "initramfs.cpio.gz"),
	})
	if err != nil {
		return "", err
	}
	fmt.Fprintf(out, "%s: %s, %.1f MB\n", t.Name, r.Path, float64(r.Size)/1e6)
	return r.Path, nil
}

// runShell becomes QEMU, which then has the terminal to itself.
func runShell(ctx context.Context, o *options, out *os.File) error {
	one, err := o.one()
	if err != nil {
		return err
	}
	on, err := qemu.OnKernels([]qemu.Target{one}, o.series, out)
	if err != nil {
		return err
	}
	if len(on) != 1 {
		return usage.Errorf("KERNELS=%s: say which one of %s to boot", o.series, one.AllKernels())
	}
	t := on[0]
	store, err := supply.DefaultStore()
	if err != nil {
		return err
	}
	defer store.Close()
	k, err := kernelFor(ctx, o, store, t, out)
	if err != nil {
		return err
	}
	if err := install(ctx, qemu.Tools([]qemu.Target{t}), out); err != nil {
		return err
	}
	newer, err := newerEmulators(ctx, store, []qemu.Target{t}, false, out)
	if err != nil {
		return err
	}
	t = newer[0]
	exe, err := exec.LookPath(t.QEMU)
	if err != nil {
		return err
	}
	image := "" // one with the tests
	if !o.tests {
		if image, err = buildImage(ctx, t, out); err != nil {
			return err
		}
	}
	c := o.config([]qemu.Target{t}, slices.Concat(suites, guestSuites), store, out)
	line, err := qemu.Shell(ctx, c, t, k, image)
	if err != nil {
		return err
	}
	store.Close() // the deferred one is of no use to what this becomes
	fmt.Fprintf(out, "%s: booting; Ctrl-A X leaves it\n", t.Title())
	return syscall.Exec(exe, line, os.Environ())
}
