package main

import (
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/qemu"
)

// options are what the environment's variables say.
type options struct {
	targets []qemu.Target
	target  string // TARGET, for commands that want just one
	kernels map[string]qemu.GivenFiles
	series  string // KERNELS
	accel   qemu.Accel
	append  string   // APPEND
	args    []string // QEMU_ARGS
	gdb     bool
	tests   bool // TESTS
	run     string
	shard   qemu.Shard
	limits  qemu.Limits
	minutes int // MINUTES
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

// These and a target's name make the variables of the target's kernel. A "-" of
// the name may be a "_", as no shell lets a variable have the first.
const (
	kernelPrefix  = "KERNEL_"
	modulesPrefix = "MODULES_"
)

// testPrefix begins the variables that go on to the tests.
const testPrefix = "VSPAWN_"

// The limits of silence and of a whole run, with room for slow machines; and how long
// what can take any time takes.
const (
	defaultTimeout = "2m"
	defaultLimit   = "30m"
	defaultMinutes = "10"
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
			return usage.Errorf("JOBS=%s: give a number of guests, from 1", v)
		}
		return nil
	}},
	{"CPUS", "CPUS=n", "processors of each guest (the target's own)", func(o *options, v string) error {
		// The kernels without an MMU are made for up to 8.
		var err error
		if o.cpus, err = strconv.Atoi(v); err != nil || o.cpus < 1 || o.cpus > 8 {
			return usage.Errorf("CPUS=%s: give a number of processors, from 1 to 8", v)
		}
		return nil
	}},
	{"MEMORY", "MEMORY=n", "MiB of memory of each guest (1024)", func(o *options, v string) error {
		var err error
		if o.memory, err = strconv.Atoi(v); err != nil || o.memory < 8 {
			return usage.Errorf("MEMORY=%s: give a number of MiB, from 8", v)
		}
		return nil
	}},
	{"KERNELS", "KERNELS=a,b", "kernels, such as 5.10,6.12, or all (the newest stable one)", func(o *options, v string) error {
		o.series = v
		return nil
	}},
	{"ACCEL", "ACCEL=auto|kvm|tcg", "what runs the guests of this machine's architecture (auto: KVM if it works)", func(o *options, v string) (err error) {
		o.accel, err = qemu.ParseAccel(v)
		return err
	}},
	{"APPEND", "APPEND='a=b c'", "arguments added to the guests' kernel command line, such as preempt=full", func(o *options, v string) (err error) {
		o.append, err = qemu.ParseAppend(v)
		return err
	}},
	{"QEMU_ARGS", "QEMU_ARGS='-a b'", "arguments added to QEMU's command line, in quotation marks as a shell takes them", func(o *options, v string) (err error) {
		o.args, err = qemu.ParseArgs(v)
		return err
	}},
	{"GDB", "GDB=1", "stop the guest, one alone, at its start, until gdb comes; how is printed", func(o *options, v string) (err error) {
		o.gdb, err = parseSwitch("GDB", v)
		return err
	}},
	{"TESTS", "TESTS=1", "make run has the test binaries in its image, for RUN and VSPAWN_ as in qemu-test", func(o *options, v string) (err error) {
		o.tests, err = parseSwitch("TESTS", v)
		return err
	}},
	{"MINUTES", "MINUTES=n", "how long make fuzz takes in all, and make soak in each place (" + defaultMinutes + ")", func(o *options, v string) (err error) {
		if o.minutes, err = strconv.Atoi(v); err != nil || o.minutes < 1 {
			return usage.Errorf("MINUTES=%s: give a number of minutes, from 1", v)
		}
		return nil
	}},
	{testPrefix, testPrefix + "<name>=value", "for the tests, in their environment", nil},
	{kernelPrefix, kernelPrefix + "<target>=path", "a kernel of your own", nil},
	{modulesPrefix, modulesPrefix + "<target>=path,path", "modules that its event port needs, in their order", nil},
}

// parseOptions reads variables in the form of os.Environ. One that is empty
// counts as not set.
func parseOptions(environ []string) (*options, error) {
	o := &options{kernels: map[string]qemu.GivenFiles{}, given: map[string]string{}}
	env := map[string]string{"TARGETS": "", "SHARD": "", "TIMEOUT": defaultTimeout, "LIMIT": defaultLimit, "MINUTES": defaultMinutes}
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
		if err := o.setKernel(name, env[name]); err != nil {
			return nil, err
		}
		if strings.HasPrefix(name, testPrefix) {
			o.env = append(o.env, name+"="+env[name])
		}
	}
	if o.series != "" && len(o.kernels) > 0 {
		return nil, usage.Errorf("KERNELS=%s: a kernel of your own (%s<target>=) takes its place: leave one of the two out", o.series, kernelPrefix)
	}
	o.machines(o.targets)
	return o, nil
}

// setKernel takes in a variable that is about a target's kernel.
func (o *options) setKernel(variable, value string) error {
	for _, prefix := range []string{kernelPrefix, modulesPrefix} {
		name, ok := strings.CutPrefix(variable, prefix)
		if !ok {
			continue
		}
		i := slices.IndexFunc(qemu.TargetNames(), func(n string) bool { return under(n) == under(name) })
		if i < 0 {
			return usage.Errorf("%s=%s: unknown target %q: choose from %s", variable, value, name, strings.Join(qemu.TargetNames(), ", "))
		}
		if other := prefix + under(name); variable != other && o.given[other] != "" {
			return usage.Errorf("%s=%s: %s=%s is set too: leave one of the two out", variable, value, other, o.given[other])
		}
		given := o.kernels[qemu.TargetNames()[i]]
		if prefix == kernelPrefix {
			given.Kernel = value
		} else {
			given.Modules = strings.Split(value, ",")
		}
		o.kernels[qemu.TargetNames()[i]] = given
	}
	return nil
}

func under(name string) string { return strings.ReplaceAll(name, "-", "_") }

// onKernels are the targets, each with every kernel that is asked for.
func (o *options) onKernels(out io.Writer) ([]qemu.Target, error) {
	return qemu.OnKernels(o.targets, o.series, out)
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
		return 0, usage.Errorf("%s=%s: give a duration, such as 90s", name, v)
	}
	return d, nil
}

func parseSwitch(name, v string) (bool, error) {
	if v != "0" && v != "1" {
		return false, usage.Errorf("%s=%s: give 1, or 0 for no", name, v)
	}
	return v == "1", nil
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
		return qemu.Target{}, usage.Errorf("say which: TARGET=%s", strings.Join(qemu.TargetNames(), " or TARGET="))
	}
	return targets[0], nil
}
