package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/vspawn/vspawn/qemu"
)

func fetchKernels(ctx context.Context, o *options, out *os.File) error {
	targets := o.targets
	if o.target != "" {
		t, err := o.one()
		if err != nil {
			return err
		}
		targets = []qemu.Target{t}
	}
	kernels, err := cachedKernels(ctx, o, targets, true, out)
	if err != nil {
		return err
	}
	for _, t := range targets {
		k := kernels[t.Name]
		fmt.Fprintf(out, "%s: %s, %s, SHA-256 %s\n", t.Name, k.Path, k.Package, k.SHA256)
	}
	return nil
}

// kernelFor returns the kernel for one target: the user's, or the cached one.
func kernelFor(ctx context.Context, o *options, t qemu.Target, out *os.File) (qemu.Kernel, error) {
	if file, ok := o.kernels[t.Name]; ok {
		return qemu.Given(t, file)
	}
	kernels, err := cachedKernels(ctx, o, []qemu.Target{t}, false, out)
	return kernels[t.Name], err
}

// cachedKernels returns the targets' kernels, and shows how it gets those that are
// not in the cache, or that there are newer ones of if fresh is set.
func cachedKernels(ctx context.Context, o *options, targets []qemu.Target, fresh bool, out *os.File) (map[string]qemu.Kernel, error) {
	if err := install(ctx, kernelTools(o, targets), out); err != nil {
		return nil, err
	}
	cache, err := qemu.DefaultKernels()
	if err != nil {
		return nil, err
	}
	return cache.GetShown(ctx, targets, fresh, out)
}

func listTargets(_ context.Context, _ *options, out *os.File) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "target\tGOARCH\tkernel\temulator\tmachine\tprocessors\tmemory\truns")
	for _, t := range qemu.Targets {
		runs := "always"
		if t.Extra {
			runs = "if named"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s,%s\t%d\t%d MB\t%s\n", t.Name, t.GOARCH, t.Kernel, t.QEMU, t.Machine, t.CPU, t.CPUs, t.MemoryMB, runs)
	}
	return w.Flush()
}
