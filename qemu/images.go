package qemu

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/vspawn/vspawn/initramfs"
	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

func (c *Config) imagePath(t Target) string {
	return filepath.Join(c.Build, t.Name, "test.cpio.gz")
}

// An image is what a target boots, and what is in it to be run.
type image struct {
	path   string
	suites []suite
}

// image builds a target's image with c's tests. say, which may be nil, hears how that
// goes.
func (c *Config) image(ctx context.Context, t Target, out string, say func(string)) (payload, error) {
	tc := t.Toolchain(c.Dir, filepath.Join(c.Build, "cache"))
	tc.Progress = say
	plan := wire.Plan{Target: t.Name, Run: c.Run, Env: c.Env, Idle: c.Limits.Idle}
	load, err := compile(ctx, tc, c.Suites, c.GDB)
	if err == nil {
		err = load.image(ctx, tc, plan, out)
	}
	if err != nil {
		return load, fmt.Errorf("image for %s: %w", t.Name, err)
	}
	return load, nil
}

// images builds an image for each kind of machine, and with the modules of a
// kernel, if it needs any, one for that. It returns them by the targets' titles.
func (c *Config) images(ctx context.Context, p *progress, kernels map[string]supply.Kernel) (map[string]image, error) {
	var machines, targets []Target
	for _, t := range c.Targets {
		if _, ok := kernels[t.Title()]; !ok {
			continue
		}
		targets = append(targets, t)
		if !slices.ContainsFunc(machines, func(m Target) bool { return m.Name == t.Name }) {
			machines = append(machines, t)
		}
	}
	errs := make([]error, len(machines))
	loads := make([]payload, len(machines))
	parallel(runtime.NumCPU(), len(machines), func(i int) {
		t := machines[i]
		p.set(Status{Target: t.Title(), Phase: "building the image"})
		loads[i], errs[i] = c.image(ctx, t, c.imagePath(t), nil)
		p.set(Status{Target: t.Title(), Phase: "waiting"})
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	images := map[string]image{}
	for _, t := range targets {
		im := image{path: c.imagePath(t)}
		for i, m := range machines {
			if m.Name == t.Name {
				im.suites = loads[i].suites
			}
		}
		if modules := kernels[t.Title()].Modules; len(modules) > 0 {
			out := filepath.Join(c.Build, t.Name, "test-"+t.file()+".cpio.gz")
			if err := initramfs.Extend(im.path, moduleFiles(modules), out); err != nil {
				return nil, fmt.Errorf("image for %s: %w", t.Title(), err)
			}
			im.path = out
		}
		images[t.Title()] = im
	}
	return images, nil
}
