package qemu

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// A guest is one machine of a run.
type guest struct {
	target Target
	name   string // as the progress and the logs have it
	shard  Shard
}

// guests are those of a run on targets, in the order of their start: from the end of the
// table, where the slow ones are, as they would run alone in the end. If all tests
// are to run, targets that would leave processors idle in the end are run in
// parts: one target on two processors as two guests, the last of three too.
func (c *Config) guests(targets []Target) []guest {
	shard := c.Shard
	if shard.N == 0 {
		shard = Shard{1, 1}
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

// guest runs one guest. What keeps it from running is a problem of its target's: the
// others have their results.
func (c *Config) guest(ctx context.Context, p *progress, g guest, k supply.Kernel, im image,
	test2json string) (r *Result) {
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
	b := Boot{Kernel: k.Path, Initramfs: im.path, Init: agentInit, Append: c.appended(g.shard), Args: c.Args}
	if c.GDB {
		if b.GDB, err = GDBSocket(c.Build, g.target); err != nil {
			output.Close()
			con.Close()
			return broken(err)
		}
		p.print(c.gdbText(g.target, b.GDB, im.suites))
	}
	r = s.run(ctx, b)
	if err := output.Close(); err != nil {
		r.problem("%v", err)
	}
	return r
}

// appended are the kernel's arguments of a guest that runs a part of the tests. Ours
// come last, so that they hold.
func (c *Config) appended(s Shard) []string {
	var args []string
	if c.Append != "" {
		args = append(args, c.Append)
	}
	return append(args, fmt.Sprintf("%s=%d/%d", wire.ShardEnv, s.I, s.N))
}
