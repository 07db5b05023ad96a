package qemu

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// failureLines is how much the summary shows of the start and of the end of a
// failed test's output.
const failureLines = 25

// Summarize writes what failed, with what repeats it, then the table and the
// reasons of skips, and at the very end once more, in short, what failed.
// variables are the make variables of the run that a repetition needs.
func Summarize(w io.Writer, results []*Result, variables map[string]string) {
	for _, r := range failedResults(results) {
		writeFailure(w, r, variables)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\ntarget\tkernel\tboot\tpassed\tfailed\tskipped\ttime\tverdict")
	for _, r := range results {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", r.Target.Title(), r.kernelColumn(), elapsed(r.Boot),
			r.Count(Pass), r.failed(), r.Count(Skip), elapsed(r.Wall), r.Verdict())
	}
	tw.Flush()
	for _, r := range results {
		if r.Excused {
			fmt.Fprintf(w, "no kernel for %s, which ran on another: %s\n", r.Target.Title(), r.NoKernel)
		}
		for _, why := range r.Supply.Passed {
			fmt.Fprintf(w, "%s ran the kernel of %s: %s\n", r.Target.Title(), r.Supply.Suite, why)
		}
	}
	writeSkips(w, results)
	writeLast(w, results)
}

// kernelColumn is the kernel's release, and its suite if that stands in for
// another.
func (r *Result) kernelColumn() string {
	if len(r.Supply.Passed) > 0 {
		return fmt.Sprintf("%s (%s)", orDash(r.Kernel), r.Supply.Suite)
	}
	return orDash(r.Kernel)
}

// elapsed shows a time as tables do.
func elapsed(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func writeFailure(w io.Writer, r *Result, variables map[string]string) {
	fmt.Fprintf(w, "\n%s FAILED\n", r.Target.Title())
	for _, p := range r.Problems {
		fmt.Fprintf(w, "  %s\n", p)
	}
	var tops []string
	for _, t := range r.Tests {
		if !t.failed() {
			continue
		}
		fmt.Fprintf(w, "  %s %s: %s\n", t.Binary, t.Name, outcomeText[t.Outcome])
		for i, line := range t.Output {
			switch left := len(t.Output) - 2*failureLines; {
			case i < failureLines || i >= failureLines+left:
				fmt.Fprintf(w, "    | %s\n", line)
			case i == failureLines:
				fmt.Fprintf(w, "    | … %d lines, which junit.xml has …\n", left)
			}
		}
		if top := t.Top(); !slices.Contains(tops, top) {
			tops = append(tops, top)
		}
	}
	if len(r.Problems) > 0 && len(r.Console) > 0 {
		fmt.Fprintln(w, "  last lines of the console:")
		for _, line := range r.Console {
			fmt.Fprintf(w, "    > %s\n", line)
		}
	}
	if r.Log != "" { // else nothing was booted
		fmt.Fprintf(w, "  whole console: %s\n", r.Log)
	}
	fmt.Fprintf(w, "  repeat: %s\n", repeatCommand(r, tops, variables))
}

var outcomeText = map[Outcome]string{Fail: "failed", Unfinished: "did not finish"}

// repeatCommand is what runs the tests again that failed.
func repeatCommand(r *Result, tops []string, variables map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "make qemu-test TARGETS=%s", r.Target.Name)
	switch t := r.Target; {
	case slices.ContainsFunc(allSeries, func(s series) bool { return s.name == t.Series }):
		fmt.Fprintf(&b, " KERNELS=%s", t.Series)
	case t.Series != "": // the suite's kernel has moved on
		fmt.Fprintf(&b, " KERNELS=%s", t.suite)
	}
	switch len(tops) {
	case 0:
		for _, name := range []string{"RUN", "SHARD"} {
			if v := variables[name]; v != "" {
				fmt.Fprintf(&b, " %s=%s", name, shellQuote(v))
			}
		}
	case 1:
		fmt.Fprintf(&b, " RUN=%s", shellQuote("^"+tops[0]+"$"))
	default:
		fmt.Fprintf(&b, " RUN=%s", shellQuote("^("+strings.Join(tops, "|")+")$"))
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		own := strings.ReplaceAll(name, "-", "_")
		same := own == "KERNEL_"+r.Target.variable() || own == "MODULES_"+r.Target.variable() ||
			slices.Contains([]string{"TIMEOUT", "LIMIT", "CPUS", "MEMORY", "ACCEL", "APPEND", "QEMU_ARGS"}, name) || strings.HasPrefix(name, "VSPAWN_")
		if v := variables[name]; same && v != "" {
			fmt.Fprintf(&b, " %s=%s", name, shellQuote(v))
		}
	}
	return b.String()
}

func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// writeSkips counts the reasons of all skips, and names together the targets that
// skip as many for the same.
func writeSkips(w io.Writer, results []*Result) {
	type skip struct {
		n      int
		reason string
	}
	var order []skip
	on := map[skip][]string{}
	for _, r := range results {
		counts := map[string]int{}
		for _, t := range r.Tests {
			if t.Outcome == Skip {
				counts[t.Reason()]++
			}
		}
		for _, reason := range slices.Sorted(maps.Keys(counts)) {
			s := skip{counts[reason], reason}
			if on[s] == nil {
				order = append(order, s)
			}
			on[s] = append(on[s], r.Target.Title())
		}
	}
	for _, s := range order {
		fmt.Fprintf(w, "skipped %d × %s: on %s\n", s.n, s.reason, strings.Join(on[s], ", "))
	}
}
