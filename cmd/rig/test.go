package main

import (
	"context"
	"os"
	"slices"

	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/qemu"
)

// buildDir is where everything goes that is made.
const buildDir = "build"

// suites is the table of packages whose tests run in the guests, and here.
var suites = []qemu.Suite{
	{Package: "./asm"},
	{Package: "./vspawn"},
	{Package: "./vspawn/exec"},
	{Package: "./tests"},
}

// guestSuites need what only the guests have.
var guestSuites = []qemu.Suite{
	{Package: "./tests/uroot", Once: true},
	{Package: "./tests/nommu", NoMMU: true},
}

func runTests(ctx context.Context, o *options, out *os.File) error {
	return runSuites(ctx, o, slices.Concat(suites, guestSuites), out)
}

func runSuites(ctx context.Context, o *options, suites []qemu.Suite, out *os.File) error {
	results, err := runGuests(ctx, o, suites, out)
	if err != nil {
		return err
	}
	return verdict(results)
}

// runGuests runs suites on the targets, and says what came of it. There are results
// without an error only.
func runGuests(ctx context.Context, o *options, suites []qemu.Suite, out *os.File) ([]*qemu.Result, error) {
	if err := install(ctx, qemu.Tools(o.targets), out); err != nil {
		return nil, err
	}
	store, err := supply.DefaultStore()
	if err != nil {
		return nil, err
	}
	defer store.Close()
	targets, err := o.onKernels(out)
	if err != nil {
		return nil, err
	}
	if err := installKernelTools(ctx, o, store, targets, false, out); err != nil {
		return nil, err
	}
	if targets, err = newerEmulators(ctx, store, targets, false, out); err != nil {
		return nil, err
	}
	results, err := qemu.Run(ctx, o.config(targets, suites, store, out))
	if len(results) > 0 {
		qemu.Summarize(out, results, o.given)
	}
	if err != nil {
		return nil, err
	}
	return results, nil
}

// config is what the options say of a run.
func (o *options) config(targets []qemu.Target, suites []qemu.Suite, store *supply.Store, out *os.File) qemu.Config {
	return qemu.Config{
		Targets:   targets,
		AnyKernel: o.series == qemu.AllKernels,
		Suites:    suites,
		Kernels:   o.kernels,
		Store:     store,
		Run:       o.run,
		Env:       o.env,
		Shard:     o.shard,
		Limits:    o.limits,
		Accel:     o.accel,
		Append:    o.append,
		Args:      o.args,
		GDB:       o.gdb,
		Jobs:      o.jobs,
		Dir:       ".",
		Build:     buildDir,
		Out:       out,
	}
}

// verdict is the run's. That a target has no kernel is said, and can be mended.
func verdict(results []*qemu.Result) error {
	var missed error
	for _, r := range results {
		switch {
		case r.Passed() || r.Excused:
		case r.NoKernel != "":
			missed = errMissed
		default:
			return errFailed
		}
	}
	return missed
}
