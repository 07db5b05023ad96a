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
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/vspawn/vspawn/initramfs"
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
	Append string // arguments for the guests' kernels, see ParseAppend
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
	guests := c.guests(kernels)
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
func (c *Config) guests(kernels map[string]supply.Kernel) []guest {
	shard := c.Shard
	if shard.N == 0 {
		shard = Shard{1, 1}
	}
	var targets []Target
	for _, t := range c.Targets {
		if _, ok := kernels[t.Title()]; ok {
			targets = append(targets, t)
		}
	}
	n, parts := len(targets), 1
	rest := n % c.jobs()
	if rest > 0 && c.Run == "" && shard.N == 1 {
		parts = min(c.jobs()/rest, maxParts)
	}
	var guests []guest
	for i := n - 1; i >= 0; i-- {
		t := targets[i]
		if i >= rest {
			guests = append(guests, guest{t, t.Title(), shard})
			continue
		}
		for part := range parts {
			g := guest{t, t.Title(), Shard{shard.I + part*shard.N, shard.N * parts}}
			if part > 0 {
				g.name += fmt.Sprintf("-%d", part+1)
			}
			guests = append(guests, g)
		}
	}
	return guests
}

// maxParts is into how many guests a target is parted. Each boots and lists all
// tests, which soon takes longer than those it runs.
const maxParts = 4

// jobs is how many guests run at once. Two on two processors are no slower
// than one after the other, and a third only takes time from them. They must find
// their memory too.
func (c *Config) jobs() int {
	if c.Jobs > 0 {
		return c.Jobs
	}
	return max(1, min(runtime.NumCPU(), availableMB()/guestMB))
}

// guestMB is what a guest may come to take of this machine's memory, QEMU and all.
const guestMB = 1280

// availableMB is how much memory programs could still have. Where nothing tells,
// it is as much as they want.
func availableMB() int {
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		var kb int
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kb); n == 1 {
			return kb >> 10
		}
	}
	return math.MaxInt
}

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
		if c.Targets[i].Series = seriesOf(k.Version); t.Series == "" || c.hasTitle(c.Targets[i].Title(), i) {
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
func Kernels(ctx context.Context, store *supply.Store, targets []Target, fresh bool, report func(Status)) (map[string]supply.Kernel, map[string]error) {
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
func KernelsShown(ctx context.Context, store *supply.Store, targets []Target, fresh bool, out *os.File) (map[string]supply.Kernel, map[string]error) {
	p := newProgress(out, titlesOf(targets))
	defer p.close()
	return Kernels(ctx, store, targets, fresh, p.set)
}

func (c *Config) imagePath(t Target) string {
	return filepath.Join(c.Build, t.Name, "test.cpio.gz")
}

// An image is what a target boots, and what is in it to be run.
type image struct {
	path   string
	suites []suite
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
		tc := t.Toolchain(c.Dir, filepath.Join(c.Build, "cache"))
		plan := wire.Plan{Target: t.Name, Run: c.Run, Env: c.Env, Idle: c.Limits.Idle}
		load, err := compile(ctx, tc, c.Suites)
		if err == nil {
			err = load.image(ctx, tc, plan, c.imagePath(t))
		}
		if err != nil {
			errs[i] = fmt.Errorf("image for %s: %w", t.Name, err)
		}
		loads[i] = load
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

// guest runs one guest. What keeps it from running is a problem of its target's: the
// others have their results.
func (c *Config) guest(ctx context.Context, p *progress, g guest, k supply.Kernel, im image, test2json string) (r *Result) {
	log := filepath.Join(c.resultsDir(), strings.ReplaceAll(g.name, " ", "-"))
	defer func() {
		r.Supply = k
		p.set(Status{Target: g.name, Phase: fmt.Sprintf("%s: %d passed, %d failed, %d skipped in %.1fs",
			r.Verdict(), r.Count(Pass), r.failed(), r.Count(Skip), r.Wall.Seconds())})
	}()
	broken := func(err error) *Result { return &Result{Target: g.target, Problems: []string{err.Error()}} }
	selector, err := wire.NewSelector(c.Run, g.shard.I-1, g.shard.N)
	if err != nil {
		return broken(err)
	}
	output, err := os.Create(log + ".log")
	if err != nil {
		return broken(err)
	}
	con, err := newConsole(log + ".console.log")
	if err != nil {
		output.Close()
		return broken(err)
	}
	s := session{
		name: g.name, target: g.target, limits: c.Limits.host(), test2json: test2json, console: con, output: output,
		report: p.set, suites: im.suites, selector: selector,
	}
	r = s.run(ctx, Boot{
		Kernel:    k.Path,
		Initramfs: im.path,
		Init:      agentInit,
		Append:    c.appended(g.shard),
	})
	if err := output.Close(); err != nil {
		r.problem("%v", err)
	}
	return r
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
