package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/internal/arch"
	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/qemu"
)

// staticcheck is run by version, so that it is none of the module's
// requirements.
const staticcheck = "honnef.co/go/tools/cmd/staticcheck@v0.7.0"

// all are the packages of the workspace. "./..." would be those of one module.
const all = "work"

// patience is for what hangs: the go command's own ten minutes end tests that are only
// slow, as those of the rig are on a busy machine.
const patience = "-timeout=1h"

// library are the packages that others import: they must compile everywhere.
var library = []string{"./asm", "./vspawn", "./vspawn/exec"}

// otherSystems are where Start answers an error, and the package compiles.
var otherSystems = []string{"darwin/arm64", "freebsd/amd64", "windows/amd64", "plan9/amd64"}

// emulated are the architectures whose test binaries an emulator runs on this kernel.
func emulated() []arch.Arch {
	return slices.DeleteFunc(arch.WithStubs(), func(a arch.Arch) bool { return a.GOARCH == runtime.GOARCH })
}

// withoutStubs is an architecture that package asm has nothing for. It is the last and
// not the first, 386: not every amd64 kernel runs that, and in qemu-i386 Go's runtime
// dies.
func withoutStubs() arch.Arch {
	list := slices.DeleteFunc(slices.Clone(arch.All), func(a arch.Arch) bool { return a.Stubs })
	return list[len(list)-1]
}

// emulatedStep runs packages' tests under the architecture's qemu-user.
func emulatedStep(name string, a arch.Arch, packages ...string) step {
	return step{
		name: name,
		tool: a.User(),
		// GLib before 2.76 keeps blocks under locks that a fork may find
		// taken, and qemu makes a fork of every vfork.
		env:  []string{"GOARCH=" + a.GOARCH, "CGO_ENABLED=0", "G_SLICE=always-malloc"},
		args: append([]string{"go", "test", patience, "-exec", a.User()}, packages...),
	}
}

// checkSteps are those of a check. missing is for tests that run guests.
func checkSteps(sources, platforms, missing []string) []step {
	var guests []string
	for _, s := range suites {
		guests = append(guests, s.Package)
	}
	steps := []step{
		{name: "gofmt", args: append([]string{"gofmt", "-l"}, sources...), quiet: true},
		{name: "vet", args: []string{"go", "vet", all}},
		{name: "staticcheck", args: []string{"go", "run", staticcheck, all}, fetch: []string{"go", "run", staticcheck, "-version"}},
	}
	for _, p := range platforms {
		goos, goarch, _ := strings.Cut(p, "/")
		steps = append(steps, step{
			name: "vet for " + p,
			env:  []string{"GOOS=" + goos, "GOARCH=" + goarch, "CGO_ENABLED=0"},
			args: append([]string{"go", "vet"}, library...),
		})
	}
	steps = append(steps,
		step{name: "test", env: missing, args: []string{"go", "test", patience, all}},
		step{name: "os/exec's own tests", args: []string{"go", "run", "./tests/osexec", "os/exec"}},
		step{name: "test with the race detector", tool: "gcc", env: []string{"CGO_ENABLED=1"}, args: append([]string{"go", "test", patience, "-race"}, guests...)},
		step{name: "model of the waits", tool: "spin", args: []string{"go", "run", "./tests/waitmodel"}},
		emulatedStep("test of vspawn/exec as os/exec", withoutStubs(), "./vspawn/exec"),
	)
	for _, a := range emulated() {
		steps = append(steps, emulatedStep("test under "+a.User(), a, guests...))
	}
	return steps
}

// check runs all steps, whatever fails, so that one run shows everything. What
// can't run is named at the end: a mirror that is out of step takes nothing along
// that needs none.
func check(ctx context.Context, o *options, out *os.File) error {
	targets, err := qemu.Select(strings.Join(qemu.OwnTests, ","))
	if err != nil {
		return err
	}
	var missed []string
	os.Remove(checkReport)
	if err := install(ctx, append(qemu.Tools(targets), hostTools()...), out); err != nil {
		missed = append(missed, err.Error())
	}
	// Package qemu's tests have kernels made if need be, which may take longer
	// than a test may.
	missing, err := missingTargets(ctx, o, targets, out)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		missed = append(missed, fmt.Sprintf("the rig's tests on %s: %v", name, missing[name]))
	}
	platforms, err := linuxPlatforms(ctx)
	if err != nil {
		return err
	}
	sources, err := sourceDirs()
	if err != nil {
		return err
	}
	env := []string{qemu.MissingEnv + "=" + strings.Join(slices.Sorted(maps.Keys(missing)), ",")}
	steps := checkSteps(sources, append(platforms, otherSystems...), env)
	failed, unrun, err := runSteps(ctx, steps, out)
	if err != nil {
		return err
	}
	return reportIn(checkReport, out, failed, append(missed, unrun...))
}

// missingTargets gets the kernels of the rig's own tests, and says for which
// targets there is none, or no emulator.
func missingTargets(ctx context.Context, o *options, targets []qemu.Target, out *os.File) (map[string]error, error) {
	store, err := supply.DefaultStore()
	if err != nil {
		return nil, err
	}
	defer store.Close()
	if err := installKernelTools(ctx, o, store, targets, false, out); err != nil {
		return nil, err
	}
	_, missing := qemu.KernelsShown(ctx, store, targets, false, out)
	for _, t := range targets {
		if err := host.CheckTools(qemu.Tools([]qemu.Target{t})); err != nil {
			missing[t.Name] = err
		}
	}
	return missing, ctx.Err()
}

// linuxPlatforms are all that this release of Go knows.
func linuxPlatforms(ctx context.Context) ([]string, error) {
	list, err := exec.CommandContext(ctx, "go", "tool", "dist", "list").Output()
	if err != nil {
		return nil, fmt.Errorf("go tool dist list: %w", err)
	}
	return slices.DeleteFunc(strings.Fields(string(list)), func(p string) bool {
		return !strings.HasPrefix(p, "linux/")
	}), nil
}

// sourceDirs are the directories here but the one of what is made: a compiler
// at work leaves files there that are not for people.
func sourceDirs() ([]string, error) {
	entries, err := os.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if name := e.Name(); e.IsDir() && name != buildDir && !strings.HasPrefix(name, ".") {
			dirs = append(dirs, name)
		}
	}
	return dirs, nil
}
