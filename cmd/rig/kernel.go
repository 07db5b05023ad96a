package main

import (
	"context"
	"fmt"
	"os"

	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/qemu"
)

// fetchKernels looks for newer kernels and emulators, and removes what no row of
// the tables has any more.
func fetchKernels(ctx context.Context, o *options, out *os.File) error {
	if o.target != "" {
		t, err := o.one()
		if err != nil {
			return err
		}
		o.targets = []qemu.Target{t}
	}
	if err := install(ctx, qemu.Tools(o.targets), out); err != nil {
		return err
	}
	targets, err := o.onKernels(out)
	if err != nil {
		return err
	}
	store, err := supply.DefaultStore()
	if err != nil {
		return err
	}
	defer store.Close()
	if err := installKernelTools(ctx, o, store, targets, true, out); err != nil {
		return err
	}
	if _, err := newerEmulators(ctx, store, targets, true, out); err != nil {
		return err
	}
	kernels, errs := qemu.KernelsShown(ctx, store, targets, true, out)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, t := range targets {
		k, ok := kernels[t.Title()]
		if !ok {
			fmt.Fprintf(out, "%s: no kernel: %v\n", t.Title(), errs[t.Title()])
			continue
		}
		news := ""
		if k.Replaced != "" {
			news = ", newer than " + k.Replaced
		}
		fmt.Fprintf(out, "%s: %s %s of %s%s, SHA-256 %s, %s\n", t.Title(), k.Package, k.Version, k.Suite, news, k.SHA256, k.Path)
	}
	var removed []string
	if o.target == "" && o.given["TARGETS"] == "" { // or others' emulators would go
		removed, err = store.Prune(allSpecs())
	}
	for _, what := range removed {
		fmt.Fprintf(out, "removed %s, which nothing uses any more\n", what)
	}
	if err == nil && len(errs) > 0 {
		return errMissed
	}
	return err
}

// allSpecs are the kernels of all rows.
func allSpecs() []supply.Spec {
	var specs []supply.Spec
	for _, t := range qemu.EveryTarget() {
		specs = append(specs, t.Kernel)
	}
	return specs
}

// kernelFor returns the kernel for one target: the user's, or the cached one.
func kernelFor(ctx context.Context, o *options, store *supply.Store, t qemu.Target,
	out *os.File) (supply.Kernel, error) {
	if given, ok := o.kernels[t.Name]; ok {
		return qemu.GivenKernel(t, given)
	}
	if err := installKernelTools(ctx, o, store, []qemu.Target{t}, false, out); err != nil {
		return supply.Kernel{}, err
	}
	kernels, errs := qemu.KernelsShown(ctx, store, []qemu.Target{t}, false, out)
	return kernels[t.Title()], errs[t.Title()]
}
