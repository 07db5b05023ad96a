// Bench compares vspawn with every other way to start a process: in one run, round by round
// in turns, so that a machine that slows down slows all of them.
//
// Synopsis:
//
//	go run . [-rounds n] [-only regexp] [-dir directory] [-report]
//
// Description:
//
//	It measures, writes what it has measured to results.json in the directory, plots that,
//	and writes performance.md beside the directory. The machine should be idle. Each goal
//	has a row in goals; what is left out keeps its last results. Ways that the machine lacks
//	(Rust, CPython) are named in the report.
//
// Options:
//
//	-rounds n       how many rounds (default 100)
//	-only regexp    only the goals whose names it matches
//	-dir directory  where results.json is (default ../docs/bench)
//	-report         measure nothing: make plots and page from results.json
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == sleepersName {
		os.Exit(sleepers(os.Args[2]))
	}
	rounds := flag.Int("rounds", 100, "how many rounds")
	only := flag.String("only", "", "only the goals whose names it matches")
	dir := flag.String("dir", "../docs/bench", "where results.json is")
	report := flag.Bool("report", false, "measure nothing: make plots and page from results.json")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *rounds, *only, *dir, *report); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int, only, dir string, report bool) error {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if rounds < 5 {
		return fmt.Errorf("-rounds %d: a median and its error take 5 at least", rounds)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	file := filepath.Join(dir, "results.json")
	all, err := readResults(file)
	if err != nil {
		return err
	}
	if !report {
		if err := measure(ctx, rounds, chosen, all); err != nil {
			return err
		}
		if err := writeResults(file, all); err != nil {
			return err
		}
	}
	return writeReport(dir, all)
}

// measure measures the chosen goals.
func measure(ctx context.Context, rounds int, chosen *regexp.Regexp, all *results) error {
	e, err := newEnvironment(ctx, rounds)
	if err != nil {
		return err
	}
	defer e.close()
	all.Machine = machine()
	all.Missing = e.missing
	for _, g := range goals {
		if !chosen.MatchString(g.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", g.name, g.title)
		f := &figure{Rounds: rounds}
		if err := g.measure(e, f); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		all.Figures[g.name] = f
	}
	return nil
}

// results are what results.json has.
type results struct {
	Machine map[string]string
	Missing []string
	Figures map[string]*figure // by the goals' names
}

func readResults(file string) (*results, error) {
	r := &results{Figures: map[string]*figure{}}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, r)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: remove it, or mend it", file, err)
	}
	return r, nil
}

func writeResults(file string, r *results) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o666)
}
