package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A fuzzTarget is a function that go test -fuzz calls.
type fuzzTarget struct {
	dir, name string // "./vspawn", "FuzzCompile"
}

func (t fuzzTarget) String() string { return t.dir + " " + t.name }

// fuzz gives each fuzz target in the sources an equal part of the time.
func fuzz(ctx context.Context, o *options, out *os.File) error {
	dirs, err := sourceDirs()
	if err != nil {
		return err
	}
	targets, err := fuzzTargets(".", dirs)
	if err != nil {
		return err
	}
	each := time.Duration(o.minutes) * time.Minute / time.Duration(max(len(targets), 1))
	return fuzzAll(ctx, targets, each.Truncate(time.Second), nil, out)
}

// fuzzTargets are those of all test files below the directories.
func fuzzTargets(root string, dirs []string) (targets []fuzzTarget, err error) {
	for _, dir := range dirs {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), "_")):
				return filepath.SkipDir // the go command has no packages there
			case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
				return nil
			}
			rel, err := filepath.Rel(root, filepath.Dir(path))
			if err != nil {
				return err
			}
			names, err := fuzzNames(path)
			for _, name := range names {
				targets = append(targets, fuzzTarget{"./" + filepath.ToSlash(rel), name})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return targets, nil
}

// fuzzNames are the fuzz targets of a file: functions FuzzX of a *testing.F.
func fuzzNames(path string) (names []string, err error) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Fuzz") || len(fn.Type.Params.List) != 1 {
			continue
		}
		star, ok := fn.Type.Params.List[0].Type.(*ast.StarExpr)
		if !ok {
			continue
		}
		if x, ok := star.X.(*ast.SelectorExpr); ok && x.Sel.Name == "F" {
			names = append(names, fn.Name.Name)
		}
	}
	return names, nil
}

// A fuzzResult is what one target has come to.
type fuzzResult struct {
	fuzzTarget
	took       time.Duration
	execs, new int
	failing    string // the file of an input, or ""
	err        error
}

func (r fuzzResult) outcome() string {
	switch {
	case r.err == nil:
		return "ok"
	case r.failing != "":
		return "FAILED: " + r.failing
	}
	return "FAILED: " + r.err.Error()
}

// fuzzAll fuzzes one target after the other, whatever fails, and prints a table.
func fuzzAll(ctx context.Context, targets []fuzzTarget, each time.Duration, env []string, out io.Writer) error {
	var results []fuzzResult
	for i, t := range targets {
		if ctx.Err() != nil {
			break
		}
		fmt.Fprintf(out, "%d of %d: %s, for %v\n", i+1, len(targets), t, each)
		results = append(results, t.fuzz(ctx, each, env, out))
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "target\ttime\tcalls\tnew inputs\toutcome")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%v\t%d\t%d\t%s\n", r, r.took.Round(time.Second), r.execs, r.new, r.outcome())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if r.err != nil && r.failing != "" {
			fmt.Fprintf(out, "FAILED %s; repeat: go test %s -run '^%s$/^%s$'\n", r, r.dir, r.name, filepath.Base(r.failing))
		} else if r.err != nil {
			fmt.Fprintf(out, "FAILED %s; repeat: %s\n", r, r.step(each, env))
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if slices.ContainsFunc(results, func(r fuzzResult) bool { return r.err != nil }) {
		return errFailed
	}
	return nil
}

// step is the go command's part. Not every call takes the same way through a kernel, so
// that an input can't be made smaller at all: a minute for each is too much.
func (t fuzzTarget) step(each time.Duration, env []string) step {
	return step{name: t.String(), env: env, args: []string{"go", "test", patience, "-run=^$",
		"-fuzz=^" + t.name + "$", "-fuzztime=" + each.String(), "-fuzzminimizetime=20x", t.dir}}
}

func (t fuzzTarget) fuzz(ctx context.Context, each time.Duration, env []string, out io.Writer) fuzzResult {
	r := fuzzResult{fuzzTarget: t}
	start := time.Now()
	r.err = t.step(each, env).run(ctx, io.MultiWriter(out, &fuzzOutput{result: &r}))
	r.took = time.Since(start)
	return r
}

// fuzzOutput reads what go test -fuzz prints.
type fuzzOutput struct {
	result *fuzzResult
	part   string
}

var (
	fuzzProgress = regexp.MustCompile(`^fuzz: elapsed: .*, execs: (\d+) \(.*\), new interesting: (\d+) `)
	fuzzFailing  = regexp.MustCompile(`^\s*Failing input written to (\S+)`)
	fuzzSeed     = regexp.MustCompile(`^failure while testing seed corpus entry: Fuzz[^/]*/(\S+)`)
)

// Write implements io.Writer.
func (f *fuzzOutput) Write(p []byte) (int, error) {
	f.part += string(p)
	for {
		line, rest, ended := strings.Cut(f.part, "\n")
		if !ended {
			return len(p), nil
		}
		f.part = rest
		if m := fuzzProgress.FindStringSubmatch(line); m != nil {
			f.result.execs, _ = strconv.Atoi(m[1])
			f.result.new, _ = strconv.Atoi(m[2])
		} else if m := fuzzFailing.FindStringSubmatch(line); m != nil {
			f.result.failing = filepath.Join(f.result.dir, m[1])
		} else if m := fuzzSeed.FindStringSubmatch(line); m != nil && f.result.failing == "" {
			f.result.failing = m[1] // one that the sources have
		}
	}
}
