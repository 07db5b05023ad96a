package main

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// The figures of a soak are found where the test logs them, and stand in a table.
func TestSoakFigures(t *testing.T) {
	figures := soakFigures([]string{"=== RUN   TestSoak", "    soak_test.go:9: soak figures:  starts=20 lost=0", "PASS"})
	if want := map[string]int{"starts": 20, "lost": 0}; !reflect.DeepEqual(figures, want) {
		t.Errorf("figures %v, want %v", figures, want)
	}
	if got := soakFigures([]string{"skipped"}); got != nil {
		t.Errorf("figures of nothing: %v", got)
	}
	var out strings.Builder
	writeSoaked(&out, []soaked{{"host", "ok", time.Minute, figures}, {"guest", "FAILED", 2 * time.Minute, map[string]int{"starts": 3}}})
	want := "\nsoak     host  guest\ntime     1m0s  2m0s\nlost     0     -\nstarts   20    3\nverdict  ok    FAILED\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// The test on this machine is told for how long, as those in the guests are.
func TestSoakStep(t *testing.T) {
	var out strings.Builder
	s := soakStep("3m")
	s.args = []string{"env"}
	if err := s.run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "VSPAWN_SOAK=3m\n") {
		t.Errorf("it is told %q", out.String())
	}
}
