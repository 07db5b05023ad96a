package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vspawn/vspawn/internal/host"
)

// A step is one command of a check.
type step struct {
	name  string
	env   []string
	args  []string
	quiet bool     // fails if it prints anything
	tool  string   // a program that this machine may lack
	fetch []string // a command that gets what the step runs; without a network it can't
}

// A failure is a step that failed, and how what it said begins.
type failure struct {
	step
	err  error
	said []string
}

// runSteps runs all, whatever fails. What can't run is no failure.
func runSteps(ctx context.Context, steps []step, out io.Writer) (failed []failure, missed []string, err error) {
	for _, s := range steps {
		if ctx.Err() != nil {
			return failed, missed, errors.New("interrupted")
		}
		if lacks := host.MissingTools([]host.Tool{{Program: s.tool}}); s.tool != "" && len(lacks) > 0 {
			missed = append(missed, fmt.Sprintf("%s: %s is missing", s.name, s.tool))
			continue
		}
		start := time.Now()
		if why := s.get(ctx); why != "" {
			missed = append(missed, fmt.Sprintf("%s: %s", s.name, why))
			continue
		}
		var first digest
		if err := s.run(ctx, io.MultiWriter(out, &first)); err != nil {
			failed = append(failed, failure{s, err, first.lines})
			fmt.Fprintf(out, "FAILED %s: %v\n  repeat: %s\n", s.name, err, s)
			continue
		}
		fmt.Fprintf(out, "ok     %s (%.1fs)\n", s.name, time.Since(start).Seconds())
	}
	return failed, missed, nil
}

// get gets what the step runs, and says why it can't be had. Whatever else is amiss
// with it, the step itself will tell.
func (s step) get(ctx context.Context) (why string) {
	if s.fetch == nil {
		return ""
	}
	cmd := exec.CommandContext(ctx, s.fetch[0], s.fetch[1:]...)
	out, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil {
		return ""
	}
	for line := range strings.Lines(string(out)) {
		if unreachable(line) {
			return strings.TrimSpace(line) + ": see whether there is a network"
		}
	}
	return ""
}

// unreachable tells whether the go command says here that it has no way to what it
// needs.
func unreachable(line string) bool {
	if strings.Contains(line, "module lookup disabled") {
		return true
	}
	return strings.Contains(line, ": Get \"") && slices.ContainsFunc([]string{
		"dial ", "proxyconnect ", "no such host", "connection re", "network is unreachable", "TLS handshake", "imeout", ": EOF",
	}, func(text string) bool { return strings.Contains(line, text) })
}

// report ends a check: what could not run, how the failed steps began to speak, and
// then a line for each, since a log may be cut to its last lines.
func report(out io.Writer, failed []failure, missed []string) error {
	for _, m := range missed {
		fmt.Fprintf(out, "could not run: %s\n", m)
	}
	for _, f := range failed {
		if len(f.said) > 0 {
			fmt.Fprintf(out, "%s:\n", f.name)
		}
		for _, line := range f.said {
			fmt.Fprintf(out, "  | %s\n", line)
		}
	}
	for _, f := range failed {
		fmt.Fprintf(out, "FAILED %s: %.300v; repeat: %s\n", f.name, f.err, f.step)
	}
	switch {
	case len(failed) > 0:
		return errFailed
	case len(missed) > 0:
		return errMissed
	}
	return nil
}

// checkReport is a file with what a check said last, for those who have more to say
// after it.
var checkReport = filepath.Join(buildDir, "check.txt")

func reportIn(file string, out io.Writer, failed []failure, missed []string) error {
	var text bytes.Buffer
	err := report(io.MultiWriter(out, &text), failed, missed)
	if err2 := os.MkdirAll(filepath.Dir(file), 0o755); err2 != nil {
		return err2
	}
	return cmp.Or(os.WriteFile(file, text.Bytes(), 0o644), err)
}

// digestLines is how much of a failed step's output is said again at the end.
const digestLines = 12

// A digest keeps the first lines that tell of more than of what is well.
type digest struct {
	lines []string
	part  []byte
}

// Write implements io.Writer.
func (d *digest) Write(p []byte) (int, error) {
	n := len(p)
	for len(d.lines) < digestLines && len(p) > 0 {
		text, rest, ended := bytes.Cut(p, []byte("\n"))
		d.part = append(d.part, text...)
		if p = rest; !ended {
			break
		}
		line := strings.TrimRight(string(d.part), " \t\r")
		d.part = nil
		if line != "" && !slices.ContainsFunc([]string{"ok  ", "?   ", "go: downloading ", "=== "},
			func(well string) bool { return strings.HasPrefix(line, well) }) {
			d.lines = append(d.lines, fmt.Sprintf("%.300s", line))
		}
	}
	return n, nil
}

func (s step) run(ctx context.Context, out io.Writer) error {
	cmd := exec.CommandContext(ctx, s.args[0], s.args[1:]...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute // what it leaves behind may have its output
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, out
	if s.quiet {
		cmd.Stdout = &printed
	}
	if err := cmd.Run(); err != nil {
		return err
	}
	if printed.Len() > 0 {
		return fmt.Errorf("%s", strings.Join(strings.Fields(printed.String()), " "))
	}
	return nil
}

// String is what a shell would run.
func (s step) String() string {
	return strings.Join(slices.Concat(s.env, s.args), " ")
}
