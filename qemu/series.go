package qemu

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
)

// A series is a kernel that targets are tried on: a row of allSeries.
type series struct {
	name    string   // a version, and behind a dash in what the row differs from that one's
	suites  []string // Debian's, that have it; the first that can be had serves
	targets []string
	differs func(*Target) // makes the target what the name says; nil for a plain version
}

// version is that of the row's kernels.
func (s series) version() string { return strings.TrimSuffix(s.name, variant(s.name)) }

// suite is what the row is called by the first of its suites.
func (s series) suite() string { return s.suites[0] + variant(s.name) }

// variant is what a row's name has behind its version, from the dash on.
func variant(name string) string {
	if i := strings.IndexByte(name, '-'); i >= 0 {
		return name[i:]
	}
	return ""
}

// allSeries is the table of kernels. A new one costs a row here. The first is the
// newest stable kernel, which a target runs on if nothing else is asked for; the
// others, in their order, stand in for it where no suite of its own can be had.
//
// forky is not released, and its kernel moves on. Who asks for 7.2 by name then
// gets an error that says so, and KERNELS=all runs what there is.
var allSeries = []series{
	{"6.12", stable, []string{"amd64", "arm64", "riscv64", "riscv64-nommu", "riscv64-nommu-sbi"}, nil},
	{"7.2", []string{"forky"}, []string{"amd64", "arm64", "riscv64"}, nil},
	{"6.1", []string{"bookworm"}, []string{"amd64", "arm64"}, nil},
	{"5.10", []string{"bullseye"}, []string{"amd64", "arm64"}, nil},
	{"7.2-preempt", []string{"forky"}, []string{"amd64"}, preemptible},
	{"6.12-faults", stable, []string{"riscv64"}, failing},
}

// stable are the suites of the first row.
var stable = []string{"trixie", "bookworm-backports"}

// preemptible has the kernel give way to another thread wherever it is, on two
// processors: races that need both are rare elsewhere.
func preemptible(t *Target) {
	t.CPUs = 2
	t.Append = []string{"preempt=full"}
}

// failing is a kernel that can be told to have no memory (Documentation/fault-injection),
// which no kernel of Debian's can. It is made of the one without an MMU.
func failing(t *Target) {
	t.Kernel = builtRISCV64("kernel/riscv64-nommu.config", "kernel/riscv64-faults.config")
	t.Serial = "virtio-serial-device"
}

// from are the suites to take a kernel from, which must be of the series if exact
// is set.
func (s series) from(exact bool) []supply.Suite {
	var suites []supply.Suite
	for _, name := range s.suites {
		suite := supply.Suite{Name: name}
		if exact {
			suite.Series = s.version()
		}
		suites = append(suites, suite)
	}
	return suites
}

// anySuite is where a target's own kernel may come from.
func anySuite(target string) []supply.Suite {
	var suites []supply.Suite
	for _, s := range allSeries {
		if s.differs == nil && slices.Contains(s.targets, target) {
			suites = append(suites, s.from(false)...)
		}
	}
	return suites
}

// builtSuites is where the source may come from of a kernel whose options are those
// of the first series.
func builtSuites() []supply.Suite { return allSeries[0].from(true) }

// AllKernels asks for every kernel.
const AllKernels = "all"

// OnKernels gives a target for each of its kernels that list names, separated by
// commas or spaces: by series, such as 5.10, or by a suite of Debian's, such as
// bullseye, for whatever that has. say is told what of it there is not. An empty list leaves each
// target its own kernel. With AllKernels a target counts as run if one of its
// kernels could be had.
func OnKernels(targets []Target, list string, say io.Writer) ([]Target, error) {
	names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	if len(names) == 0 {
		return targets, nil
	}
	all := slices.Equal(names, []string{AllKernels})
	var rows []series
	exact := map[string]bool{}
	var known, suites []string
	for _, s := range allSeries {
		exact[s.name] = slices.Contains(names, s.name)
		if all || exact[s.name] || slices.Contains(names, s.suite()) {
			rows = append(rows, s)
		}
		known, suites = append(known, s.name), append(suites, s.suite())
	}
	for _, name := range names {
		if !all && !slices.Contains(known, name) && !slices.Contains(suites, name) {
			return nil, usage.Errorf("KERNELS=%s: unknown kernel %q: choose from %s, the suites %s, or %s", list, name,
				strings.Join(known, ", "), strings.Join(suites, ", "), AllKernels)
		}
	}
	var on []Target
	for _, t := range targets {
		has := t.series()
		for _, s := range rows {
			if !slices.Contains(has, s.name) {
				if !all {
					fmt.Fprintf(say, "%s has no kernel %s: it has %s\n", t.Name, s.name, strings.Join(has, ", "))
				}
				continue
			}
			at := t
			at.Series, at.suite = s.name, s.suite()
			if s.differs != nil {
				s.differs(&at)
			}
			at.Kernel = at.Kernel.From(s.from(exact[s.name]))
			on = append(on, at)
		}
	}
	if len(on) == 0 {
		return nil, usage.Errorf("KERNELS=%s: none of the targets has such a kernel", list)
	}
	return on, nil
}

// series are the kernels that the target has.
func (t Target) series() []string {
	var has []string
	for _, s := range allSeries {
		if slices.Contains(s.targets, t.Name) {
			has = append(has, s.name)
		}
	}
	return has
}

// AllKernels lists the target's kernels, its own first, separated by commas.
func (t Target) AllKernels() string { return strings.Join(t.series(), ",") }

// AllSuites lists the suites of AllKernels.
func (t Target) AllSuites() string {
	var suites []string
	for _, s := range allSeries {
		if slices.Contains(s.targets, t.Name) {
			suites = append(suites, s.suite())
		}
	}
	return strings.Join(suites, ",")
}

// EveryTarget are all targets on their own kernels, and on all others.
func EveryTarget() []Target {
	on, err := OnKernels(Targets, AllKernels, io.Discard)
	if err != nil {
		panic(err) // the table is part of this program
	}
	return append(on, Targets...)
}

// seriesOf is the series of a package's version: "6.12" of "6.12.117-1".
func seriesOf(version string) string {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return version
	}
	minor, _, _ := strings.Cut(parts[1], "-")
	return parts[0] + "." + minor
}
