package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vspawn/vspawn/qemu"
)

// options are what the environment's variables say.
type options struct {
	targets []qemu.Target
	target  string // TARGET, for commands that want just one
	kernels map[string]string
	run     string
	shard   qemu.Shard
	limits  qemu.Limits
	jobs    int
	cpus    int               // 0 is the target's own
	memory  int               // MB; 0 is the target's own
	env     []string          // for the tests
	given   map[string]string // variables that were set, for the repeat command
}

// A variable is an option.
type variable struct {
	name, usage, text string
	set               func(o *options, value string) error
}

// kernelPrefix and a target's name make the variable of the target's kernel.
const kernelPrefix = "KERNEL_"

// testPrefix begins the variables that go on to the tests.
const testPrefix = "VSPAWN_"

// The limits of silence and of a whole run, with room for slow machines.
const (
	defaultTimeout = "2m"
	defaultLimit   = "30m"
)

var variables = []variable{
	{"TARGETS", "TARGETS=a,b", "targets, by name (all)", func(o *options, v string) (err error) {
		o.targets, err = qemu.Select(v)
		return err
	}},
	{"TARGET", "TARGET=name", "the target of make run and make kernel", func(o *options, v string) error {
		o.target = v
		return nil
	}},
	{"RUN", "RUN=regexp", "tests, as go test -run chooses (all)", func(o *options, v string) error {
		o.run = v
		return nil
	}},
	{"SHARD", "SHARD=i/n", "the i-th of n parts of the tests", func(o *options, v string) (err error) {
		o.shard, err = qemu.ParseShard(v)
		return err
	}},
	{"TIMEOUT", "TIMEOUT=duration", "a test or a guest silent for longer hangs (" + defaultTimeout + ")", func(o *options, v string) (err error) {
		o.limits.Idle, err = parseDuration("TIMEOUT", v)
		return err
	}},
	{"LIMIT", "LIMIT=duration", "a guest may take so long in all (" + defaultLimit + ")", func(o *options, v string) (err error) {
		o.limits.Total, err = parseDuration("LIMIT", v)
		return err
	}},
	{"JOBS", "JOBS=n", "guests at once (one a processor)", func(o *options, v string) (err error) {
		if o.jobs, err = strconv.Atoi(v); err != nil || o.jobs < 1 {
			return usagef("JOBS=%s: give a number of guests, from 1", v)
		}
		return nil
	}},
	{"CPUS", "CPUS=n", "processors of each guest (the target's own)", func(o *options, v string) error {
		// The kernels without an MMU are made for up to 8.
		var err error
		if o.cpus, err = strconv.Atoi(v); err != nil || o.cpus < 1 || o.cpus > 8 {
			return usagef("CPUS=%s: give a number of processors, from 1 to 8", v)
		}
		return nil
	}},
	{"MEMORY", "MEMORY=n", "MiB of memory of each guest (1024)", func(o *options, v string) error {
		var err error
		if o.memory, err = strconv.Atoi(v); err != nil || o.memory < 8 {
			return usagef("MEMORY=%s: give a number of MiB, from 8", v)
		}
		return nil
	}},
	{testPrefix, testPrefix + "<name>=value", "for the tests, in their environment", nil},
	{kernelPrefix, kernelPrefix + "<target>=path", "a kernel of your own", nil},
}

// parseOptions reads variables in the form of os.Environ. One that is empty
// counts as not set.
func parseOptions(environ []string) (*options, error) {
	o := &options{kernels: map[string]string{}, given: map[string]string{}}
	env := map[string]string{"TARGETS": "", "SHARD": "", "TIMEOUT": defaultTimeout, "LIMIT": defaultLimit}
	for _, e := range environ {
		if name, value, _ := strings.Cut(e, "="); value != "" {
			env[name] = value
			o.given[name] = value
		}
	}
	for _, v := range variables {
		if value, ok := env[v.name]; ok && v.set != nil {
			if err := v.set(o, value); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if target, ok := strings.CutPrefix(name, kernelPrefix); ok {
			if !slices.Contains(qemu.Names(), target) {
				return nil, usagef("%s=%s: unknown target %q: choose from %s", name, env[name], target, strings.Join(qemu.Names(), ", "))
			}
			o.kernels[target] = env[name]
		}
		if strings.HasPrefix(name, testPrefix) {
			o.env = append(o.env, name+"="+env[name])
		}
	}
	o.machines(o.targets)
	return o, nil
}

// machines changes targets as the options want it.
func (o *options) machines(targets []qemu.Target) {
	for i := range targets {
		if o.cpus > 0 {
			targets[i].CPUs = o.cpus
		}
		if o.memory > 0 {
			targets[i].MemoryMB = o.memory
		}
	}
}

func parseDuration(name, v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return 0, usagef("%s=%s: give a duration, such as 90s", name, v)
	}
	return d, nil
}

// one returns the single target that a command works on.
func (o *options) one() (qemu.Target, error) {
	targets := o.targets
	if o.target != "" {
		var err error
		if targets, err = qemu.Select(o.target); err != nil {
			return qemu.Target{}, err
		}
		o.machines(targets)
	}
	if len(targets) != 1 {
		return qemu.Target{}, usagef("say which: TARGET=%s", strings.Join(qemu.Names(), " or TARGET="))
	}
	return targets[0], nil
}

func usagef(format string, args ...any) error {
	return &qemu.UsageError{Err: fmt.Errorf(format, args...)}
}
