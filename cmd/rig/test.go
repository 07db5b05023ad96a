package main

import (
	"context"
	"os"
	"slices"

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
}

func runTests(ctx context.Context, o *options, out *os.File) error {
	return runSuites(ctx, o, slices.Concat(suites, guestSuites), out)
}

func runSuites(ctx context.Context, o *options, suites []qemu.Suite, out *os.File) error {
	if err := install(ctx, testTools(o), out); err != nil {
		return err
	}
	targets, err := newerEmulators(ctx, o.targets, out)
	if err != nil {
		return err
	}
	cache, err := qemu.DefaultKernels()
	if err != nil {
		return err
	}
	results, err := qemu.Run(ctx, qemu.Config{
		Targets: targets,
		Suites:  suites,
		Kernels: o.kernels,
		Cache:   cache,
		Run:     o.run,
		Env:     o.env,
		Shard:   o.shard,
		Limits:  o.limits,
		Jobs:    o.jobs,
		Dir:     ".",
		Build:   buildDir,
		Out:     out,
	})
	if err != nil {
		return err
	}
	qemu.Summarize(out, results, o.given)
	for _, r := range results {
		if !r.Passed() {
			return errFailed
		}
	}
	return nil
}
