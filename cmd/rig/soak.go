package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vspawn/vspawn/qemu"
)

// The test that soaks, what it is told by, and what it says at its end: figures of the
// form "name=number".
const (
	soakTest = "^TestSoak$"
	soakEnv  = testPrefix + "SOAK"
	soakSays = "soak figures:"
)

// A soaked is what became of one place.
type soaked struct {
	where, verdict string
	took           time.Duration
	figures        map[string]int
}

// soak has children started at random, here and then in the guests, all of them for
// as long.
func soak(ctx context.Context, o *options, out *os.File) error {
	amount := o.given[soakEnv]
	if amount == "" {
		amount = strconv.Itoa(o.minutes) + "m"
		o.env = append(o.env, soakEnv+"="+amount)
		o.given[soakEnv] = amount // for the command that repeats it
	}
	if o.given["LIMIT"] == "" { // what is before and after is slow in a guest
		o.limits.Total += 2 * time.Duration(o.minutes) * time.Minute
	}
	o.run = soakTest
	here, failed := soakHere(ctx, amount, out)
	if err := ctx.Err(); err != nil {
		return err
	}
	results, err := runGuests(ctx, o, []qemu.Suite{{Package: "./tests", Once: true}}, out)
	all := []soaked{here}
	for _, r := range results {
		all = append(all, soakedGuest(r))
	}
	writeSoaked(out, all)
	return cmp.Or(failed, err, verdict(results))
}

// soakStep soaks on this machine.
func soakStep(amount string) step {
	return step{name: "soak", env: []string{soakEnv + "=" + amount},
		args: []string{"go", "test", "-v", "-count=1", "-timeout=0", "-run", soakTest, "./tests"}}
}

// soakHere does that step.
func soakHere(ctx context.Context, amount string, out io.Writer) (soaked, error) {
	var said bytes.Buffer
	begin := time.Now()
	failed, _, err := runSteps(ctx, []step{soakStep(amount)}, io.MultiWriter(out, &said))
	here := soaked{where: "host", verdict: "ok", took: time.Since(begin), figures: soakFigures(strings.Split(said.String(), "\n"))}
	switch {
	case err == nil && len(failed) > 0:
		err = errFailed
	case err == nil && len(here.figures) == 0:
		err = errors.New("the soak on this machine says nothing: see why it was skipped")
	}
	if err != nil {
		here.verdict = "FAILED"
	}
	return here, err
}

func soakedGuest(r *qemu.Result) soaked {
	var lines []string
	for _, t := range r.Tests {
		lines = append(lines, t.Output...)
	}
	return soaked{where: r.Target.Title(), verdict: r.Verdict(), took: r.Wall, figures: soakFigures(lines)}
}

// soakFigures are those in a test's output, or nil.
func soakFigures(lines []string) (figures map[string]int) {
	for _, line := range lines {
		_, said, ok := strings.Cut(line, soakSays)
		if !ok {
			continue
		}
		figures = map[string]int{}
		for _, word := range strings.Fields(said) {
			name, value, _ := strings.Cut(word, "=")
			if n, err := strconv.Atoi(value); err == nil {
				figures[name] = n
			}
		}
	}
	return figures
}

// writeSoaked writes a table, a figure a line, since there are more of them than places.
func writeSoaked(w io.Writer, all []soaked) {
	names := map[string]bool{}
	for _, s := range all {
		for name := range s.figures {
			names[name] = true
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, cell func(s soaked) string) {
		fmt.Fprint(tw, name)
		for _, s := range all {
			fmt.Fprint(tw, "\t", cell(s))
		}
		fmt.Fprintln(tw)
	}
	fmt.Fprintln(tw)
	row("soak", func(s soaked) string { return s.where })
	row("time", func(s soaked) string { return s.took.Round(time.Second).String() })
	for _, name := range slices.Sorted(maps.Keys(names)) {
		row(name, func(s soaked) string {
			if n, ok := s.figures[name]; ok {
				return strconv.Itoa(n)
			}
			return "-"
		})
	}
	row("verdict", func(s soaked) string { return s.verdict })
	tw.Flush()
}
