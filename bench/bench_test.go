package main

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == sleepersName {
		os.Exit(sleepers(os.Args[2]))
	}
	os.Exit(m.Run())
}

// A run measures what it is to, keeps the rest, and shows all of it.
func TestRun(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "bench")
	for _, only := range []string{"^latency$", "^threads$"} {
		if err := run(t.Context(), 5, only, dir, false); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(filepath.Join(top, "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := []string{"| " + plan + " | ", "1000 threads | last to first |", "![beside threads](bench/threads.svg)"}
	if cWays("") != nil {
		wanted = append(wanted, "| C posix_spawn | ", "| "+base+" | 1.00 |")
	} else {
		wanted = append(wanted, "- no C: built without cgo")
	}
	for _, want := range wanted {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
	if strings.Contains(string(page), "NaN") {
		t.Errorf("the page has what is no number:\n%s", page)
	}
	for _, name := range []string{"latency.svg", "threads.svg"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		d := xml.NewDecoder(f)
		for err == nil {
			_, err = d.Token()
		}
		if err != io.EOF {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, q := range []string{"p50", "p99"} {
		all, err := readResults(filepath.Join(dir, "results.json"))
		if err != nil {
			t.Fatal(err)
		}
		if got := all.Figures["latency"].at(plan, 0, q); len(got) == 0 || slices.Min(got) <= 0 {
			t.Errorf("%s of %s: %v", q, plan, got)
		}
	}
}

// The waits of a process of its own are told.
func TestWaits(t *testing.T) {
	e, err := newEnvironment(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	for _, name := range []string{plan, ours, theirs} {
		kib, threads, err := waitedFor(e, name, 50)
		if err != nil || kib <= 0 || threads < 1 {
			t.Errorf("%s: %v KiB, %d threads, %v", name, kib, threads, err)
		}
	}
}

// Each way starts a child, and tells when it can't.
func TestWays(t *testing.T) {
	e, err := newEnvironment(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if err := os.Remove(e.child); err != nil {
		t.Fatal(err)
	}
	for _, w := range e.ways {
		if w.once != nil && w.once() == nil {
			t.Errorf("%s starts a program that is not there", w.name)
		}
	}
}

func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "results.json"), []byte("{"), 0o666); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"4 rounds":      run(t.Context(), 4, "", t.TempDir(), false),
		"no regexp":     run(t.Context(), 5, "(", t.TempDir(), false),
		"broken result": run(t.Context(), 5, "", dir, true),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, 5, "^latency$", t.TempDir(), false); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestFigure(t *testing.T) {
	f := &figure{}
	for round := range 5 {
		f.add("a", "1", "q", 10+float64(round))
		f.add("b", "1", "q", 20+2*float64(round))
		f.add("a", "2", "q", 123456)
	}
	if got := f.ratios("b", "a", 0, "q"); len(got) != 5 || got[0] != 2 || got[4] != 2 {
		t.Errorf("ratios %v", got)
	}
	if got := f.at("a", 1, "q")[0]; got != 123500 {
		t.Errorf("rounded to %v", got)
	}
	if got := f.at("b", 1, "q"); got != nil {
		t.Errorf("what was not measured is %v", got)
	}
	const want = "| q, u | 1 n | 2 n | last to first |\n|---|---|---|---|\n"
	got := table(f, goal{x: "n"}, quantity{name: "q", unit: "u", flat: true})
	if !strings.HasPrefix(got, want) || !strings.Contains(got, "| 10291.67 |") {
		t.Errorf("table:\n%s", got)
	}
}

// What a guest's log says of the speed is what the figure has.
func TestAddSpeeds(t *testing.T) {
	f := new(figure)
	log := "    speed_test.go:58: speed: a way = 12\nspeed: none\n    x.go:1: speed: other = 7\n    speed: a way = 14\n"
	if n := addSpeeds(f, "target", []byte(log)); n != 3 {
		t.Errorf("%d lines", n)
	}
	if got := f.at("a way", 0, "p50"); !slices.Equal(got, []float64{12, 14}) {
		t.Errorf("got %v", got)
	}
}
