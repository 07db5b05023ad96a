package qemu

import (
	"fmt"
	"strings"
	"testing"
)

// A log that is cut to its last lines still says what failed, and how: skips and
// the table come before it, however many they are.
func TestSummaryEnds(t *testing.T) {
	var output []string
	for i := range 40 {
		output = append(output, fmt.Sprintf("    x_test.go:%d: said %d", i, i))
	}
	output = append([]string{"=== RUN   TestX/sub"}, append(output, "    --- FAIL: TestX/sub (0.23s)")...)
	bad := &Result{Target: Targets[0], Tests: []*Test{
		{Binary: "uroot", Name: "TestX", Outcome: Fail, Output: []string{"=== RUN   TestX", "--- FAIL: TestX (0.23s)"}},
		{Binary: "uroot", Name: "TestX/sub", Outcome: Fail, Output: output},
	}}
	bad.Target.Series = "5.10"
	for i := range 50 {
		bad.Tests = append(bad.Tests, &Test{Binary: "b", Name: "TestS", Outcome: Skip, Output: []string{fmt.Sprintf("    a.go:1: reason %d", i)}})
	}
	var text strings.Builder
	Summarize(&text, []*Result{bad, {Target: Targets[1], Tests: []*Test{{Outcome: Pass}}}}, nil)
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	got := lines[len(lines)-16:]
	want := []string{"amd64 5.10: uroot TestX/sub:"}
	for i := range lastLines {
		want = append(want, "  | "+output[1+i])
	}
	want = append(want, "  | … 28 lines more", "FAILED amd64 5.10: uroot TestX failed", "FAILED amd64 5.10: uroot TestX/sub failed")
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("ends with\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Where all goes wrong the end has its bounds too, and a guest that died is in it.
func TestSummaryEndBounded(t *testing.T) {
	bad := &Result{Target: Targets[0], Problems: []string{"the guest died\nof " + strings.Repeat("x", 1000)}}
	for i := range 200 {
		bad.Tests = append(bad.Tests, &Test{Binary: "b", Name: fmt.Sprintf("Test%d", i), Outcome: Unfinished,
			Output: []string{strings.Repeat("y", 1000)}})
	}
	without := &Result{Target: Targets[3], NoKernel: "no network"}
	var text strings.Builder
	writeLast(&text, []*Result{bad, without})
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if want := 1 + 2*lastTests + lastNames; len(lines) != want {
		t.Errorf("%d lines, want %d:\n%s", len(lines), want, text.String())
	}
	for _, l := range lines {
		if len(l) > 2*lastWidth {
			t.Errorf("a line of %d bytes", len(l))
		}
	}
	for _, want := range []string{
		"no kernel for riscv64-nommu: no network; give one",
		"\nFAILED amd64: the guest died; of xxx",
		"\nFAILED amd64: b Test0 did not finish\n",
		"\nFAILED amd64: and 177 more, which are above\n",
	} {
		if !strings.Contains("\n"+text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}
