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
	"regexp"
	"runtime"
	"slices"
	"sync"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// A Config says what to run where.
type Config struct {
	Targets []Target
	Suites  []Suite
	Kernels map[string]string // kernels of the user's, by target
	Cache   Kernels

	Run    string   // as go test -run
	Env    []string // for the tests
	Shard  Shard
	Limits Limits
	Jobs   int    // guests at once; 0 chooses
	Dir    string // the module's root
	Build  string // directory for images and results
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
		return Shard{}, usagef("SHARD=%s: give i/n with 1 ≤ i ≤ n, such as 1/3", s)
	}
	return sh, nil
}

// resultsDir is where a run leaves its results.
func (c *Config) resultsDir() string { return filepath.Join(c.Build, "results") }

// check finds what is wrong before any work is done.
func (c *Config) check() error {
	if _, err := regexp.Compile(c.Run); err != nil {
		return usagef("RUN=%s: %w", c.Run, err)
	}
	if c.Limits.Idle <= 0 || c.Limits.Total <= 0 {
		return usagef("TIMEOUT and LIMIT must be more than 0, such as 90s")
	}
	return nil
}

// Run runs the suites on all targets, shows progress and the summary on
// c.Out, and leaves console logs and junit.xml in the results directory. The
// error tells why there is no verdict; a failed test is none.
func Run(ctx context.Context, c Config) ([]*Result, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := CheckTools(Tools(c.Targets)); err != nil {
		return nil, err
	}
	test2json, err := findTest2JSON()
	if err != nil {
		return nil, err
	}
	unlock, err := lockDir(ctx, c.Build, func() {
		fmt.Fprintf(c.Out, "waiting for another run in %s to end\n", c.Build)
	})
	if err != nil {
		return nil, err
	}
	defer unlock()
	// What an earlier run left must not pass for this one's.
	if err := os.RemoveAll(c.resultsDir()); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.resultsDir(), 0o755); err != nil {
		return nil, err
	}

	p := newProgress(c.Out, c.names())
	defer p.close()
	kernels, err := c.kernels(ctx, p)
	if err != nil {
		return nil, err
	}
	// All images come before the first guest: a compiler beside it would take
	// the processors that the tests' timing needs.
	if err := c.images(ctx, p); err != nil {
		return nil, err
	}
	guests := c.guests()
	parts := make([]*Result, len(guests))
	errs := make([]error, len(guests))
	parallel(c.jobs(), len(guests), func(i int) {
		parts[i], errs[i] = c.guest(ctx, p, guests[i], kernels[guests[i].target.Name], test2json)
	})
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	results := merge(c.Targets, parts)
	return results, writeJUnit(c.resultsDir(), results)
}

// A guest is one machine of a run.
type guest struct {
	target Target
	name   string // as the progress and the logs have it
	shard  Shard
}

// guests are those of a run, in the order of their start: from the end of the
// table, where the slow ones are, as they would run alone in the end. If all tests
// are to run, targets that would leave processors idle in the end are run in
// parts: one target on two processors as two guests, the last of three too.
func (c *Config) guests() []guest {
	shard := c.Shard
	if shard.N == 0 {
		shard = Shard{1, 1}
	}
	n, parts := len(c.Targets), 1
	rest := n % c.jobs()
	if rest > 0 && c.Run == "" && shard.N == 1 {
		parts = c.jobs() / rest
	}
	var guests []guest
	for i := n - 1; i >= 0; i-- {
		t := c.Targets[i]
		if i >= rest {
			guests = append(guests, guest{t, t.Name, shard})
			continue
		}
		for part := range parts {
			g := guest{t, t.Name, Shard{shard.I + part*shard.N, shard.N * parts}}
			if part > 0 {
				g.name += fmt.Sprintf("-%d", part+1)
			}
			guests = append(guests, g)
		}
	}
	return guests
}

// names are those of all guests, in the order of the table.
func (c *Config) names() []string {
	guests := c.guests()
	place := func(g guest) int {
		return slices.IndexFunc(c.Targets, func(t Target) bool { return t.Name == g.target.Name })
	}
	slices.SortStableFunc(guests, func(a, b guest) int { return place(a) - place(b) })
	names := make([]string, len(guests))
	for i, g := range guests {
		names[i] = g.name
	}
	return names
}

// jobs is how many guests run at once. Two on two processors are no slower
// than one after the other, and a third only takes time from them.
func (c *Config) jobs() int {
	if c.Jobs > 0 {
		return c.Jobs
	}
	return runtime.NumCPU()
}

func (c *Config) kernels(ctx context.Context, p *progress) (map[string]Kernel, error) {
	got := map[string]Kernel{}
	var fetch []Target
	for _, t := range c.Targets {
		file, ok := c.Kernels[t.Name]
		if !ok {
			fetch = append(fetch, t)
			continue
		}
		k, err := Given(t, file)
		if err != nil {
			return nil, err
		}
		got[t.Name] = k
	}
	fetched, err := c.Cache.Get(ctx, fetch, false, p.set)
	if err != nil {
		return nil, err
	}
	for name, k := range fetched {
		got[name] = k
	}
	return got, nil
}

func (c *Config) imagePath(t Target) string {
	return filepath.Join(c.Build, t.Name, "test.cpio.gz")
}

func (c *Config) images(ctx context.Context, p *progress) error {
	errs := make([]error, len(c.Targets))
	parallel(runtime.NumCPU(), len(c.Targets), func(i int) {
		t := c.Targets[i]
		p.set(Status{Target: t.Name, Phase: "building the image"})
		tc := t.Toolchain(c.Dir, filepath.Join(c.Build, "cache"))
		plan := wire.Plan{Target: t.Name, Run: c.Run, Env: c.Env, Idle: c.Limits.Idle}
		load, err := compile(ctx, tc, c.Suites)
		if err == nil {
			err = load.image(ctx, tc, plan, c.imagePath(t))
		}
		errs[i] = err
		p.set(Status{Target: t.Name, Phase: "waiting"})
	})
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("image for %s: %w", c.Targets[i].Name, err)
		}
	}
	return nil
}

func (c *Config) guest(ctx context.Context, p *progress, g guest, k Kernel, test2json string) (*Result, error) {
	con, err := newConsole(filepath.Join(c.resultsDir(), g.name+".console.log"))
	if err != nil {
		return nil, err
	}
	output, err := os.Create(filepath.Join(c.resultsDir(), g.name+".log"))
	if err != nil {
		return nil, err
	}
	s := session{name: g.name, target: g.target, limits: c.Limits.host(), test2json: test2json, console: con, output: output, report: p.set}
	r := s.run(ctx, Boot{
		Kernel:    k.Path,
		Initramfs: c.imagePath(g.target),
		Init:      agentInit,
		Append:    []string{fmt.Sprintf("%s=%d/%d", wire.ShardEnv, g.shard.I, g.shard.N)},
	})
	if err := output.Close(); err != nil {
		r.problem("%v", err)
	}
	verdict := "passed"
	if !r.Passed() {
		verdict = "FAILED"
	}
	p.set(Status{Target: g.name, Phase: fmt.Sprintf("%s: %d passed, %d failed, %d skipped in %.1fs",
		verdict, r.Count(Pass), r.Count(Fail)+r.Count(Unfinished), r.Count(Skip), r.Wall.Seconds())})
	return r, nil
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
