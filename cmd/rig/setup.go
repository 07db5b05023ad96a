package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/internal/arch"
	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/qemu"
)

// hostTools are what make test needs beside the guests' tools.
func hostTools() []host.Tool {
	var tools []host.Tool
	for _, a := range emulated() {
		tools = append(tools, host.Tool{Program: a.User(), Package: arch.UserPackage})
	}
	return append(tools,
		host.Tool{Program: "gcc", Package: "gcc"}, // with libc6-dev: for go test -race
		host.Tool{Program: "/usr/include/stdlib.h", Package: "libc6-dev"},
		host.Tool{Program: "gpg", Package: "gpg"},   // for the tests' own mirror
		host.Tool{Program: "spin", Package: "spin"}, // for the model of the waits
	)
}

func setup(ctx context.Context, o *options, out *os.File) error {
	tools := append(qemu.Tools(o.targets), hostTools()...)
	for _, t := range o.targets {
		if _, given := o.kernels[t.Name]; !given {
			tools = append(tools, t.Kernel.Tools()...)
		}
	}
	if err := install(ctx, tools, out); err != nil {
		return err
	}
	fmt.Fprintln(out, "all that make test and make qemu-test need is installed")
	return nil
}

// installKernelTools installs what getting those kernels needs that neither the user
// has given nor the cache has. Where it can't, the targets that need them have no
// kernel, and say why; the others run.
func installKernelTools(ctx context.Context, o *options, store *supply.Store, targets []qemu.Target, fresh bool,
	out *os.File) error {
	var tools []host.Tool
	for _, t := range targets {
		if _, given := o.kernels[t.Name]; !given && (fresh || !store.Has(ctx, t.Kernel)) {
			tools = append(tools, t.Kernel.Tools()...)
		}
	}
	if err := install(ctx, tools, out); err != nil {
		fmt.Fprintln(out, "not all tools for getting kernels are here:", err)
	}
	return ctx.Err()
}

// newerEmulators gives targets newer emulators than an old release has. The
// installed ones serve where there are none.
func newerEmulators(ctx context.Context, store *supply.Store, targets []qemu.Target, fresh bool,
	out *os.File) ([]qemu.Target, error) {
	newer := map[string]string{}
	targets = slices.Clone(targets)
	for i, t := range targets {
		if t.OldQEMU {
			continue
		}
		if newer[t.QEMU] == "" {
			pkg, _, _ := strings.Cut(t.Package, "|")
			path, err := store.Emulator(ctx, t.QEMU, pkg, fresh, func(phase, detail string) {
				fmt.Fprintln(out, strings.TrimSpace(t.QEMU+": "+phase+" "+detail))
			})
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				fmt.Fprintf(out, "%s: the installed one serves, which takes longer: %v\n", t.QEMU, err)
				path = t.QEMU
			}
			newer[t.QEMU] = path
		}
		targets[i].QEMU = newer[t.QEMU]
	}
	return targets, nil
}

// install installs those tools that are missing, with apt, or says which they
// are if it can't.
func install(ctx context.Context, tools []host.Tool, out *os.File) error {
	missing := host.MissingTools(tools)
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return host.CheckTools(tools)
	}
	var sudo []string
	if os.Geteuid() != 0 {
		if exec.CommandContext(ctx, "sudo", "-n", "true").Run() != nil {
			return host.CheckTools(tools)
		}
		sudo = []string{"sudo", "-n"}
	}
	apt := func(args ...string) error {
		args = slices.Concat(sudo, []string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"}, args)
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		if err := cmd.Run(); err != nil {
			return usage.Errorf("%s: %w; %w", strings.Join(args, " "), err, host.CheckTools(tools))
		}
		return nil
	}
	// Some list that is out of step may not be one that is needed.
	updated := apt("update")
	packages := []string{"install", "-y", "--no-install-recommends"}
	for _, t := range missing {
		packages = append(packages, knownPackage(ctx, t))
	}
	if err := apt(packages...); err != nil {
		return errors.Join(err, updated)
	}
	return host.CheckTools(tools)
}

// knownPackage chooses the package that this release has.
func knownPackage(ctx context.Context, t host.Tool) string {
	names := strings.Split(t.Package, "|")
	for _, name := range names {
		if exec.CommandContext(ctx, "apt-cache", "show", name).Run() == nil {
			return name
		}
	}
	return names[0]
}
