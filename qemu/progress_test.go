package qemu

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

// show gives what a progress prints of statuses.
func show(t *testing.T, live bool, statuses ...Status) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := newProgress(w, TargetNames()[:2])
	if p.live {
		t.Error("a pipe is taken for a terminal")
	}
	for _, s := range statuses {
		p.set(s)
	}
	if live {
		p.mu.Lock()
		p.live = true
		p.draw()
		p.draw()
		p.mu.Unlock()
	}
	p.close()
	w.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPlainProgress(t *testing.T) {
	got := show(t, false,
		Status{Target: "arm64", Phase: "booting"},
		Status{Target: "amd64", Phase: "booting"},
		Status{Target: "arm64", Phase: "running", Tests: 3},
		Status{Target: "arm64", Phase: "running", Tests: 3, Binary: "b"},
		Status{Target: "arm64", Phase: "running", Tests: 3, Binary: "b", N: 1, Test: "TestA"}, // not worth a line
		Status{Target: "arm64", Phase: "compiling"},
		Status{Target: "arm64", Phase: "compiling", Detail: "file 1"}, // nor is this
		Status{Target: "arm64", Phase: "passed"},
	)
	got = regexp.MustCompile(`(?m)^ +\d+\.\ds `).ReplaceAllString(got, "")
	want := "arm64 booting\namd64 booting\narm64 running\narm64 running test 0 of 3: b \narm64 compiling\narm64 passed\n"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestLiveProgress wants lines no wider than the terminal, in the table's
// order, and none of them left.
func TestLiveProgress(t *testing.T) {
	got := show(t, true,
		Status{Target: "arm64", Phase: "running", Tests: 3, Binary: "b", N: 1, Test: "TestA" + strings.Repeat("x", 100)},
		Status{Target: "amd64", Phase: "booting"},
	)
	draws := strings.Split(got, up(2))
	if len(draws) < 3 || draws[len(draws)-1] != "" {
		t.Fatalf("the lines are not replaced: %q", got)
	}
	lines := strings.Split(draws[len(draws)-2], "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "amd64 ") || !strings.HasPrefix(lines[1], "arm64 ") ||
		!strings.Contains(lines[1], "running test 1 of 3: b TestA") {
		t.Errorf("lines: %q", lines)
	}
	for _, line := range lines {
		if len(line) >= 80 {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
}

// A guest that was not named before has its line behind its target's.
func TestProgressAdds(t *testing.T) {
	got := show(t, true,
		Status{Target: "arm64", Phase: "a"}, Status{Target: "amd64", Phase: "b"},
		Status{Target: "amd64-2", Phase: "c"}, Status{Target: "other", Phase: "d"})
	last := strings.Split(got, up(4))[1] // the second drawing
	order := regexp.MustCompile(`(?m)^\S+`).FindAllString(last, -1)
	if want := "amd64 amd64-2 arm64 other"; strings.Join(order, " ") != want {
		t.Errorf("%q, want %q in %q", order, want, last)
	}
}
