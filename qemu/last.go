package qemu

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// What is shown once more at a report's very end has these bounds: a log that is
// cut to its last lines must still say what failed.
const (
	lastLines = 12 // of a failed test's own output
	lastTests = 4  // whose output is shown
	lastNames = 25 // of what failed on a target
	lastWidth = 300
)

// writeLast ends a report with what has to be mended: how the first of the failed
// tests began to speak, and then a line for each that failed.
func writeLast(w io.Writer, results []*Result) {
	for _, r := range results {
		if r.NoKernel != "" && !r.Excused {
			fmt.Fprintf(w, "no kernel for %s: %s; give one by KERNEL_%s=path, or try again later\n", r.Target.Title(), r.NoKernel, r.Target.variable())
		}
	}
	shown := 0
	for _, r := range failedResults(results) {
		for _, t := range r.Tests {
			if own := t.own(); t.failed() && len(own) > 0 && shown < lastTests {
				shown++
				writeOwn(w, r, t, own)
			}
		}
	}
	for _, r := range failedResults(results) {
		lines := slices.Clone(r.Problems)
		for _, t := range r.Tests {
			if t.failed() {
				lines = append(lines, fmt.Sprintf("%s %s %s", t.Binary, t.Name, outcomeText[t.Outcome]))
			}
		}
		for i, line := range lines {
			if left := len(lines) - i; i == lastNames-1 && left > 1 {
				fmt.Fprintf(w, "FAILED %s: and %d more, which are above\n", r.Target.Title(), left)
				break
			}
			fmt.Fprintf(w, "FAILED %s: %s\n", r.Target.Title(), oneLine(line))
		}
	}
}

func failedResults(results []*Result) (failed []*Result) {
	for _, r := range results {
		if r.Verdict() == "FAILED" {
			failed = append(failed, r)
		}
	}
	return failed
}

func (t *Test) failed() bool { return t.Outcome == Fail || t.Outcome == Unfinished }

// own is a test's output without what the testing package adds.
func (t *Test) own() (lines []string) {
	for _, line := range t.Output {
		text := strings.TrimSpace(line)
		if text != "" && !strings.HasPrefix(text, "=== ") && !strings.HasPrefix(text, "--- ") {
			lines = append(lines, line)
		}
	}
	return lines
}

func writeOwn(w io.Writer, r *Result, t *Test, own []string) {
	fmt.Fprintf(w, "%s: %s %s:\n", r.Target.Title(), t.Binary, t.Name)
	for i, line := range own {
		if i == lastLines {
			fmt.Fprintf(w, "  | … %d lines more\n", len(own)-i)
			break
		}
		fmt.Fprintf(w, "  | %s\n", oneLine(line))
	}
}

// oneLine is a text of which there may be too much.
func oneLine(text string) string {
	text = strings.ReplaceAll(text, "\n", "; ")
	if r := []rune(text); len(r) > lastWidth {
		return string(r[:lastWidth]) + "…"
	}
	return text
}
