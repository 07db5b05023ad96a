package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/qemu"
)

// hostTools are what make test needs beside the guests' tools.
var hostTools = []qemu.Tool{
	{Program: "qemu-aarch64", Package: "qemu-user"},
	{Program: "qemu-riscv64", Package: "qemu-user"},
	{Program: "gcc", Package: "gcc"}, // with libc6-dev: for go test -race
	{Program: "/usr/include/stdlib.h", Package: "libc6-dev"},
}

// fetchTools are what fetching Debian's kernels, and their source, needs.
var fetchTools = []qemu.Tool{
	{Program: "dpkg-deb", Package: "dpkg"},
	{Program: qemu.Keyring, Package: "debian-archive-keyring"},
}

// mirrorTool tells Debian's mirror to other distributions.
var mirrorTool = qemu.Tool{Program: qemu.Debootstrap, Package: "debootstrap"}

func setup(ctx context.Context, o *options, out *os.File) error {
	if err := install(ctx, slices.Concat(testTools(o), hostTools), out); err != nil {
		return err
	}
	fmt.Fprintln(out, "all that make test and make qemu-test need is installed")
	return nil
}

// testTools are what make qemu-test needs.
func testTools(o *options) []qemu.Tool {
	return append(qemu.Tools(o.targets), kernelTools(o, o.targets)...)
}

// kernelTools are what getting the kernels needs that the user hasn't given.
func kernelTools(o *options, targets []qemu.Target) []qemu.Tool {
	var tools []qemu.Tool
	fetch := false
	for _, t := range targets {
		if _, given := o.kernels[t.Name]; given {
			continue
		}
		fetch = true
		if t.Source != nil {
			tools = append(tools, t.Source.Tools()...)
		}
	}
	if fetch {
		tools = append(tools, fetchTools...)
		if _, err := os.Stat("/etc/dpkg/origins/ubuntu"); err == nil {
			tools = append(tools, mirrorTool)
		}
	}
	return tools
}

// newerEmulators gives targets newer emulators than an old release has.
func newerEmulators(ctx context.Context, targets []qemu.Target, out *os.File) ([]qemu.Target, error) {
	targets, err := qemu.NewerEmulators(ctx, targets, func(s string) { fmt.Fprintln(out, s) })
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(out, "running in the emulators that are installed, which take longer:", err)
	}
	return targets, ctx.Err()
}

// install installs those tools that are missing, with apt, or says which they
// are if it can't.
func install(ctx context.Context, tools []qemu.Tool, out *os.File) error {
	missing := qemu.Missing(tools)
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return qemu.CheckTools(tools)
	}
	var sudo []string
	if os.Geteuid() != 0 {
		if exec.CommandContext(ctx, "sudo", "-n", "true").Run() != nil {
			return qemu.CheckTools(tools)
		}
		sudo = []string{"sudo", "-n"}
	}
	apt := func(args ...string) error {
		args = slices.Concat(sudo, []string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"}, args)
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		if err := cmd.Run(); err != nil {
			return usagef("%s: %w; %w", strings.Join(args, " "), err, qemu.CheckTools(tools))
		}
		return nil
	}
	if err := apt("update"); err != nil {
		return err
	}
	packages := []string{"install", "-y", "--no-install-recommends"}
	for _, t := range missing {
		packages = append(packages, knownPackage(ctx, t))
	}
	if err := apt(packages...); err != nil {
		return err
	}
	return qemu.CheckTools(tools)
}

// knownPackage chooses the package that this release has.
func knownPackage(ctx context.Context, t qemu.Tool) string {
	names := strings.Split(t.Package, "|")
	for _, name := range names {
		if exec.CommandContext(ctx, "apt-cache", "show", name).Run() == nil {
			return name
		}
	}
	return names[0]
}
