// Waitmodel checks the model of how children are waited for, signalled and let go of,
// vspawn/testdata/wait.pml.
//
// Synopsis:
//
//	go run ./tests/waitmodel [-v] [MACROS]...
//	go run ./tests/waitmodel -scripts
//
// Description:
//
//	Each row of its table is the model with some macros: a kernel and what happens
//	beside, of which all claims hold; a documented limit, or a fault, a rule of the
//	code's that is broken, of which one claim is violated, the one that the row names.
//	MACROS choose rows by their whole text, such as "OTHER F_WAIT_BY_NUMBER". It takes spin and gcc.
//	The exit status is 1 if a row comes out otherwise, if a macro or a claim has no row,
//	or if vspawn/testdata/wait.scripts, which TestWaitReplay repeats, has not the model's runs.
//
// Options:
//
//	-scripts  write vspawn/testdata/wait.scripts
//	-v        show what each row costs
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const model = "vspawn/testdata/wait.pml"

func main() {
	verbose := flag.Bool("v", false, "show what each row costs")
	scripts := flag.Bool("scripts", false, "write "+scriptsFile)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *verbose, *scripts, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "waitmodel:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, verbose, scripts bool, chosen []string) error {
	path, err := filepath.Abs(model)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w: run it at the top of the checkout", err)
	}
	if scripts {
		return writeScripts(ctx, path)
	}
	errs := []error{untried(string(text))}
	list := rows
	if len(chosen) == 0 {
		errs = append(errs, checkScripts(ctx, path))
	} else {
		list = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !slices.Contains(chosen, r.macros) })
		if len(list) == 0 {
			return fmt.Errorf("no row has the macros %q", chosen)
		}
	}
	found := make([]outcome, len(list))
	places := make(chan struct{}, runtime.NumCPU())
	var all sync.WaitGroup
	for i, r := range list {
		all.Go(func() {
			places <- struct{}{}
			found[i] = r.try(ctx, path)
			<-places
		})
	}
	all.Wait()
	for i, r := range list {
		f := &found[i]
		if f.err == nil && f.violated != r.violates {
			f.err = fmt.Errorf("%s, and should be %s", said(f.violated), said(r.violates))
		}
		if f.err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", r.macros, f.err))
		}
		if verbose {
			fmt.Fprintf(out, "%-44s %-40s %10s states %6.1fs\n", r.macros, said(f.violated), f.states, f.took.Seconds())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d rows: the claims hold where they should, and each fault is found\n", len(list))
	return nil
}

func said(violated string) string {
	if violated == "" {
		return "all claims hold"
	}
	return violated
}

// untried names the faults and limits of the model that no row has, and the claims that
// none shows to be able to fail.
func untried(model string) error {
	var errs []error
	_, claims, _ := strings.Cut(model, "hidden byte ")
	claims, _, _ = strings.Cut(claims, ";")
	for claim := range strings.SplitSeq(claims, ",") {
		claim = strings.TrimSpace(claim)
		if !slices.ContainsFunc(rows, func(r row) bool { return r.violates == claim }) {
			errs = append(errs, fmt.Errorf("no row violates %q", claim))
		}
	}
	for _, name := range regexp.MustCompile(`\b[FL]_[A-Z_]+\b`).FindAllString(model, -1) {
		has := func(r row) bool { return slices.Contains(strings.Fields(r.macros), name) }
		if err := fmt.Errorf("no row has %s", name); !slices.ContainsFunc(rows, has) &&
			!slices.ContainsFunc(errs, func(e error) bool { return e.Error() == err.Error() }) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// An outcome is what spin finds.
type outcome struct {
	violated string // the claim, or "invalid end state": a call that hangs; "" if nothing is
	states   string
	took     time.Duration
	err      error
}

var (
	violation = regexp.MustCompile(`pan:1: (?:assertion violated )?(.*) \(at depth`)
	stored    = regexp.MustCompile(`(\S+) states, stored`)
)

// try has spin make a program of the model, which goes through all its states.
func (r row) try(ctx context.Context, path string) (o outcome) {
	began := time.Now()
	defer func() { o.took = time.Since(began) }()
	dir, err := os.MkdirTemp("", "waitmodel")
	if err != nil {
		return outcome{err: err}
	}
	defer os.RemoveAll(dir)
	steps := r.steps
	if steps == 0 {
		steps = 4
	}
	generate := []string{"spin", "-a", fmt.Sprintf("-DSTEPS=%d", steps)}
	for m := range strings.FieldsSeq(r.macros) {
		generate = append(generate, "-D"+m)
	}
	for _, args := range [][]string{
		append(generate, path),
		{"gcc", "-O0", "-w", "-DSAFETY", "-DCOLLAPSE", "-DVECTORSZ=4096", "-o", "pan", "pan.c"},
		{"./pan", "-n", "-m1000000"}, // no list of what is unreachable, and a search that goes that deep
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = dir
		text, err := cmd.CombinedOutput()
		searched := args[0] == "./pan" && strings.Contains(string(text), "State-vector") // whatever it found
		if err != nil && !searched {
			return outcome{err: fmt.Errorf("%s: %w: %s", args[0], err, text)}
		}
		if !searched {
			continue
		}
		if m := stored.FindSubmatch(text); m != nil {
			o.states = string(m[1])
		}
		m := violation.FindSubmatch(text)
		switch {
		case m != nil:
			o.violated = string(m[1])
		case !strings.Contains(string(text), "errors: 0") || strings.Contains(string(text), "max search depth too small"):
			o.err = fmt.Errorf("spin has not searched all: %s", text)
		}
	}
	return o
}
