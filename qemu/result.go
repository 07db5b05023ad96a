package qemu

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vspawn/vspawn/internal/supply"
)

// An Outcome is how a test ended.
type Outcome string

// The outcomes. A test is Unfinished if it began, or was to begin, and nothing
// told its end.
const (
	Pass       Outcome = "pass"
	Fail       Outcome = "fail"
	Skip       Outcome = "skip"
	Unfinished Outcome = "unfinished"
)

// A Test is the result of one test or subtest.
type Test struct {
	Binary  string
	Name    string
	Outcome Outcome
	Elapsed time.Duration
	Output  []string
	began   bool
}

// Top returns the name of the test that a subtest belongs to.
func (t *Test) Top() string {
	top, _, _ := strings.Cut(t.Name, "/")
	return top
}

// A helper that logs for another leaves two places before the text.
var logLine = regexp.MustCompile(`^\s+(?:\S+\.go:\d+: )+(.*)`)

// Reason is why a test was skipped.
func (t *Test) Reason() string {
	for _, line := range slices.Backward(t.Output) {
		if m := logLine.FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	return "no reason given"
}

// A Result is what a run on one target showed.
type Result struct {
	Target   Target
	Supply   supply.Kernel // where the kernel is from
	Kernel   string        // release, as the guest says
	Boot     time.Duration // start of QEMU to the guest's first event
	Wall     time.Duration // start to end of QEMU
	Tests    []*Test       // in the order of their beginning
	Problems []string      // why the run is a failure, failed tests aside
	Console  []string      // last lines
	Log      string        // path of the whole console log, or paths
	// NoKernel says why there was no kernel to run, and with Excused another
	// kernel's result speaks for the target.
	NoKernel  string
	Excused   bool
	notServed bool // by any mirror: it is not for want of a tool, say
	// Interrupted runs have no verdict.
	Interrupted bool
	start       time.Time
}

// merge makes one result a target of those of its guests, in the targets' order,
// and judges what only all of them show.
func (c *Config) merge(parts []*Result) []*Result {
	var results []*Result
	ran := map[string]bool{} // by the machine's name
	for _, t := range c.Targets {
		var r *Result
		for _, part := range parts {
			switch {
			case part.Target.Title() != t.Title():
			case r == nil:
				r = part
			default:
				r.add(part)
			}
		}
		if r == nil {
			continue
		}
		if r.NoKernel == "" {
			ran[t.Name] = true
			r.conclude(c.Shard.N > 1)
		}
		results = append(results, r)
	}
	for _, r := range results {
		r.Excused = r.notServed && c.AnyKernel && ran[r.Target.Name]
	}
	return results
}

// conclude finds what is wrong with the results of all guests together: one that
// ran nothing has not passed. A part of the tests that the user asked for may have
// none that this target can run.
func (r *Result) conclude(shard bool) {
	if len(r.Problems) > 0 || r.Count(Pass) > 0 || r.failed() > 0 {
		return
	}
	switch n := r.Count(Skip); {
	case n == 0:
		r.problem("no test was chosen: RUN, SHARD, or both leave none")
	case !shard:
		r.problem("no test passed: %d skipped, nothing else ran", n)
	}
}

// add takes in another guest's result of the same target.
func (r *Result) add(other *Result) {
	if r.start.IsZero() {
		r.start, r.Wall = other.start, other.Wall
	}
	if other.start.IsZero() {
		other.start = r.start
	}
	end := r.start.Add(r.Wall)
	if e := other.start.Add(other.Wall); e.After(end) {
		end = e
	}
	if other.start.Before(r.start) {
		r.start = other.start
	}
	r.Wall = end.Sub(r.start)
	r.Boot = max(r.Boot, other.Boot)
	if r.Kernel == "" {
		r.Kernel = other.Kernel
	}
	if len(r.Problems) == 0 && len(other.Problems) > 0 {
		r.Console = other.Console
	}
	r.Problems = append(r.Problems, other.Problems...)
	r.Interrupted = r.Interrupted || other.Interrupted
	r.Log += ", " + other.Log
	r.Tests = append(r.Tests, other.Tests...)
}

// Count returns how many tests ended so. Tests that contain failed subtests
// count themselves too, as in the output of go test.
func (r *Result) Count(o Outcome) int {
	n := 0
	for _, t := range r.Tests {
		if t.Outcome == o {
			n++
		}
	}
	return n
}

// failed counts what did not come to a good end.
func (r *Result) failed() int { return r.Count(Fail) + r.Count(Unfinished) }

// Passed is the verdict.
func (r *Result) Passed() bool {
	return r.NoKernel == "" && len(r.Problems) == 0 && r.failed() == 0
}

// Verdict is the verdict in a word or two.
func (r *Result) Verdict() string {
	switch {
	case r.NoKernel != "":
		return "no kernel"
	case r.Interrupted:
		return "interrupted"
	case r.Passed():
		return "ok"
	}
	return "FAILED"
}

func (r *Result) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// find returns the named test, made if need be.
func (r *Result) find(binary, name string) *Test {
	for _, t := range slices.Backward(r.Tests) {
		if t.Binary == binary && t.Name == name {
			return t
		}
	}
	t := &Test{Binary: binary, Name: name, Outcome: Unfinished}
	r.Tests = append(r.Tests, t)
	return t
}
