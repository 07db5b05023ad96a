package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
)

// kernels gets each target's kernel. A target that has none gets a result that
// says so, and the others go on.
func (c *Config) kernels(ctx context.Context, p *progress) (map[string]supply.Kernel, []*Result, error) {
	got := map[string]supply.Kernel{}
	var without []*Result
	var fetch []Target
	for _, t := range c.Targets {
		if given, ok := c.Kernels[t.Name]; ok {
			got[t.Title()] = given.kernel()
		} else {
			fetch = append(fetch, t)
		}
	}
	fetched, errs := Kernels(ctx, c.Store, fetch, false, p.set)
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	for i, t := range c.Targets {
		title := t.Title()
		if err := errs[title]; err != nil {
			p.set(Status{Target: title, Phase: "no kernel: " + err.Error()})
			without = append(without, withoutKernel(t, err))
			continue
		}
		k, ok := fetched[title]
		if !ok {
			continue
		}
		// forky's kernel moves on, and may have come to where another row's is.
		c.Targets[i].Series = seriesOf(k.Version) + variant(t.Series)
		if t.Series == "" || c.hasTitle(c.Targets[i].Title(), i) {
			c.Targets[i].Series = t.Series
		}
		if k, err := c.keepKernel(t, k); err != nil {
			without = append(without, &Result{Target: c.Targets[i], Problems: []string{err.Error()}})
		} else {
			got[c.Targets[i].Title()] = k
		}
	}
	return got, without, nil
}

// withoutKernel is the result of a target that has none: what the user can mend is
// no failure, but a kernel that does not compile is.
func withoutKernel(t Target, err error) *Result {
	if usage.Is(err) {
		return &Result{Target: t, NoKernel: err.Error(), notServed: errors.As(err, new(*supply.NotServed))}
	}
	return &Result{Target: t, Problems: []string{"no kernel: " + err.Error()}}
}

func (c *Config) hasTitle(title string, but int) bool {
	for i, t := range c.Targets {
		if i != but && t.Title() == title {
			return true
		}
	}
	return false
}

// keepKernel puts a kernel beside the image that boots with it. In the cache another
// run may replace it by a newer one, while this one's guests start.
func (c *Config) keepKernel(t Target, k supply.Kernel) (supply.Kernel, error) {
	dir := filepath.Join(c.Build, t.Name, "kernel-"+t.file())
	if err := os.RemoveAll(dir); err != nil {
		return k, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return k, err
	}
	keep := func(file string) (string, error) {
		to := filepath.Join(dir, filepath.Base(file))
		if os.Link(file, to) == nil {
			return to, nil
		}
		b, err := os.ReadFile(file) // it is on another file system
		if err != nil {
			return "", err
		}
		return to, os.WriteFile(to, b, 0o644)
	}
	path, err := keep(k.Path)
	if err != nil {
		return k, err
	}
	k.Path = absolute(path)
	k.Modules = slices.Clone(k.Modules)
	for i, m := range k.Modules {
		if k.Modules[i], err = keep(m); err != nil {
			return k, err
		}
	}
	return k, nil
}

// Kernels gets the targets' kernels, by title, or why there is none. With fresh it
// looks for newer ones. What takes time is reported.
func Kernels(ctx context.Context, store *supply.Store, targets []Target, fresh bool,
	report func(Status)) (map[string]supply.Kernel, map[string]error) {
	kernels, errs := map[string]supply.Kernel{}, map[string]error{}
	var mu sync.Mutex
	// They wait for mirrors rather than for processors.
	parallel(len(targets), len(targets), func(i int) {
		title := targets[i].Title()
		k, err := store.Get(ctx, targets[i].Kernel, fresh, func(phase, detail string) {
			report(Status{Target: title, Phase: phase, Detail: detail})
		})
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs[title] = err
			return
		}
		kernels[title] = k
		for _, why := range k.Passed {
			report(Status{Target: title, Phase: fmt.Sprintf("runs the kernel of %s: %s", k.Suite, why)})
		}
	})
	return kernels, errs
}

// KernelsShown is Kernels that shows on out how it goes.
func KernelsShown(ctx context.Context, store *supply.Store, targets []Target, fresh bool,
	out *os.File) (map[string]supply.Kernel, map[string]error) {
	p := newProgress(out, titlesOf(targets))
	defer p.close()
	return Kernels(ctx, store, targets, fresh, p.set)
}
