package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// scriptsFile has the runs of the model that TestWaitReplay repeats.
const scriptsFile = "vspawn/testdata/wait.scripts"

// scriptRows are the runs that are in it: the first of a kernel with these macros in
// which a certain thing happens, and a call is answered.
var scriptRows = []struct {
	kernel, macros string
	has            string
	n              int
}{
	{"pidfd", "OTHER", "", 25},
	{"pidfd", "OTHER STRANGER", " stranger ", 18},
	{"pidfd", "OTHER SIBLING", " sibling ", 18},
	{"pidfd", "OTHER TRACER", "hold ", 14},
	{"pidfd", "OTHER REFUSED", "refuse ", 24},
	{"pidfd", "OTHER REAPER", " orphan", 8},
	{"nopidfd", "NOPIDFD OTHER", "", 25},
	{"nopidfd", "NOPIDFD OTHER TRACER", "hold ", 14},
	{"nopidfd", "NOPIDFD OTHER REAPER", " orphan", 4},
}

// makeScripts has spin make them. It chooses by the seed, and the same on all machines.
func makeScripts(ctx context.Context, model string) (string, error) {
	dir, err := os.MkdirTemp("", "waitmodel")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	var lines []string
	for _, r := range scriptRows {
		args := []string{"-T", "-n", "-DSCRIPT", "-DSTEPS=9"}
		for m := range strings.FieldsSeq(r.macros) {
			args = append(args, "-D"+m)
		}
		const most = 1000 // seeds; a tenth do
		for seed, n := 1, 0; n < r.n; seed++ {
			if seed == most {
				return "", fmt.Errorf("the model does not have %d different runs with %q and %s", r.n, r.has, r.macros)
			}
			args[1] = fmt.Sprintf("-n%d", seed)
			cmd := exec.CommandContext(ctx, "spin", append(args, model)...)
			cmd.Dir = dir
			text, err := cmd.CombinedOutput()
			if err != nil {
				return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, text)
			}
			line := scriptOf(r.kernel, string(text))
			if strings.Contains(line, r.has) && strings.Contains(line, "=") && !slices.Contains(lines, line) {
				lines = append(lines, line)
				n++
			}
		}
	}
	return strings.Join(lines, "\n") + "\n", nil
}

// scriptOf is what a run prints behind "@", in one line.
func scriptOf(kernel, output string) string {
	words := []string{kernel}
	for line := range strings.Lines(output) {
		if _, word, ok := strings.Cut(line, "@"); ok {
			words = append(words, strings.TrimSpace(word))
		}
	}
	return strings.Join(words, " ")
}

func writeScripts(ctx context.Context, model string) error {
	text, err := makeScripts(ctx, model)
	if err != nil {
		return err
	}
	return os.WriteFile(scriptsFile, []byte(text), 0o644)
}

// checkScripts tells whether the file is the model's.
func checkScripts(ctx context.Context, model string) error {
	want, err := makeScripts(ctx, model)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(scriptsFile)
	if err == nil && string(got) != want {
		err = errors.New(scriptsFile + " has not the model's runs: make it by go run ./tests/waitmodel -scripts")
	}
	return err
}
