// Package qemu runs Go tests in virtual machines: it knows which machines there
// are, gets their kernels, boots them with an image that holds the tests, and
// judges what comes back. It does not know what the tests assert.
//
// A run passes only if the guest says so itself with a closing record over the
// event port, if tests ran, if each test that was listed has an end, and if the
// console is clean.
package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// A Config says what to run where.
type Config struct {
	Targets []Target
	Suites  []Suite
	Kernels map[string]GivenFiles // kernels of the user's, by target
	Store   *supply.Store
	// AnyKernel is enough: a target of whose kernels one can be had is not
	// complained of for the others. They are shown all the same.
	AnyKernel bool

	Run    string   // as go test -run
	Env    []string // for the tests
	Shard  Shard
	Limits Limits
	Accel  Accel
	Append string   // arguments for the guests' kernels, see ParseAppend
	Args   []string // arguments added to QEMU's command line, see ParseArgs
	GDB    bool     // the guest, the only one, waits for gdb before it starts, and has no limits
	Jobs   int      // guests at once; 0 chooses
	Dir    string   // the module's root
	Build  string   // directory for images and results
	Out    *os.File
}

// A Shard is a part of the tests: the I-th of N, from 1. The zero Shard is all.
type Shard struct{ I, N int }

// ParseShard reads "i/n"; "" is all.
func ParseShard(s string) (Shard, error) {
	if s == "" {
		return Shard{1, 1}, nil
	}
	var sh Shard
	var rest string
	n, _ := fmt.Sscanf(s+" .", "%d/%d %s", &sh.I, &sh.N, &rest)
	if n != 3 || sh.I < 1 || sh.I > sh.N {
		return Shard{}, usage.Errorf("SHARD=%s: give i/n with 1 ≤ i ≤ n, such as 1/3", s)
	}
	return sh, nil
}

// resultsDir is where a run leaves its results.
func (c *Config) resultsDir() string { return filepath.Join(c.Build, "results") }

// check finds what is wrong before any work is done, and anything is removed.
func (c *Config) check() error {
	if _, err := wire.NewSelector(c.Run, 0, 1); err != nil {
		return usage.Errorf("RUN=%s: %w", c.Run, err)
	}
	if c.Limits.Idle <= 0 || c.Limits.Total <= 0 {
		return usage.Errorf("TIMEOUT and LIMIT must be more than 0, such as 90s")
	}
	for _, t := range c.Targets {
		if given, ok := c.Kernels[t.Name]; ok {
			if err := given.check(t); err != nil {
				return err
			}
		}
	}
	if err := c.checkAccel(); err != nil {
		return err
	}
	if err := c.checkGDB(); err != nil {
		return err
	}
	return host.CheckTools(Tools(c.Targets))
}

// Run runs the suites on all targets, shows progress and the summary on
// c.Out, and leaves console logs and junit.xml in the results directory. The
// error tells why there is no verdict; a failed test is none. An interrupt is one,
// and comes with the results so far.
func Run(ctx context.Context, c Config) ([]*Result, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.GDB {
		c.Limits = Limits{forever, forever}
	}
	test2json, err := findTest2JSON()
	if err != nil {
		return nil, err
	}
	unlock, err := host.LockDir(ctx, c.Build, func() {
		fmt.Fprintf(c.Out, "waiting for another run in %s to end\n", c.Build)
	})
	if err != nil {
		return nil, err
	}
	defer unlock()

	c.Targets = slices.Clone(c.Targets)
	p := newProgress(c.Out, titlesOf(c.Targets))
	defer p.close()
	kernels, results, err := c.kernels(ctx, p)
	if err != nil {
		return nil, err
	}
	// All images come before the first guest: a compiler beside it would take
	// the processors that the tests' timing needs.
	images, err := c.images(ctx, p, kernels)
	if err != nil {
		return nil, err
	}
	accelerate, err := c.accelerator(ctx, p, kernels)
	if err != nil {
		return nil, err
	}
	for i, t := range c.Targets {
		c.Targets[i] = accelerate(t)
	}
	// What an earlier run left must not pass for this one's.
	if err := os.RemoveAll(c.resultsDir()); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.resultsDir(), 0o755); err != nil {
		return nil, err
	}
	guests := c.guests(slices.DeleteFunc(slices.Clone(c.Targets), func(t Target) bool {
		_, ok := kernels[t.Title()]
		return !ok
	}))
	parts := make([]*Result, len(guests))
	parallel(c.jobs(), len(guests), func(i int) {
		g := guests[i]
		parts[i] = c.guest(ctx, p, g, kernels[g.target.Title()], images[g.target.Title()], test2json)
	})
	results = append(results, parts...)
	results = c.merge(results)
	if err := writeJUnit(c.resultsDir(), results); err != nil {
		return nil, err
	}
	return results, ctx.Err()
}

// parallel calls do for 0 to n-1, at most jobs at once.
func parallel(jobs, n int, do func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, jobs)
	for i := range n {
		slots <- struct{}{}
		wg.Add(1)
		go func() {
			defer wg.Done()
			do(i)
			<-slots
		}()
	}
	wg.Wait()
}
