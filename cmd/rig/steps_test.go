package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What this machine can't get, or lacks, is named and no failure; what is wrong
// otherwise is one, though others come after it.
func TestRunSteps(t *testing.T) {
	sh := func(text string) []string { return []string{"sh", "-c", text} }
	const offline = `x: Get "http://proxy.test.invalid/x.info": dial tcp: lookup proxy.test.invalid: no such host`
	ran := filepath.Join(t.TempDir(), "ran")
	steps := []step{
		{name: "good", args: sh("echo '--- FAIL: in another'")},
		{name: "bad", args: sh("echo 'ok  \ta'; echo 'go: downloading x'; echo; for i in $(seq 20); do echo \"x_test.go:$i: wrong\"; done; exit 3")},
		{name: "offline", fetch: sh("echo 'go: " + offline + "' >&2; echo more >&2; exit 1"), args: sh("echo >" + ran)},
		{name: "half offline", fetch: sh("echo '../x.go:3:2: " + offline + "' >&2; exit 1"), args: sh("echo >" + ran)},
		{name: "does not compile", fetch: sh("echo 'x.go:1: undefined: y' >&2; exit 1"), args: sh("echo 'x.go:1: undefined: y' >&2; exit 1")},
		{name: "had", fetch: sh("echo 'go: downloading " + offline + "'"), args: sh("exit 0")},
		{name: "lacking", tool: "no-such-tool", args: sh("echo >" + ran)},
		{name: "last", args: sh("exit 1")},
	}
	var out strings.Builder
	failed, missed, err := runSteps(t.Context(), steps, &out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a step ran without what it needs")
	}
	file := filepath.Join(t.TempDir(), "new", "check.txt")
	var end strings.Builder
	if err := reportIn(file, &end, failed, missed); err != errFailed {
		t.Errorf("error: %v", err)
	}
	want := `could not run: offline: go: ` + offline + `: see whether there is a network
could not run: half offline: ../x.go:3:2: ` + offline + `: see whether there is a network
could not run: lacking: no-such-tool is missing
bad:
`
	for _, n := range strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12") {
		want += "  | x_test.go:" + n + ": wrong\n"
	}
	want += `does not compile:
  | x.go:1: undefined: y
FAILED bad: exit status 3; repeat: ` + steps[1].String() + `
FAILED does not compile: exit status 1; repeat: ` + steps[4].String() + `
FAILED last: exit status 1; repeat: sh -c exit 1
`
	if end.String() != want {
		t.Errorf("ends with\n%s\nwant\n%s", end.String(), want)
	}
	if b, err := os.ReadFile(file); string(b) != want {
		t.Errorf("the file has %q, %v", b, err)
	}
	if text := out.String(); !strings.Contains(text, "ok     good (") || !strings.Contains(text, "x_test.go:20: wrong") || !strings.Contains(text, "FAILED last: exit status 1\n") {
		t.Errorf("said:\n%s", text)
	}
	if err := report(&end, nil, missed); err != errMissed {
		t.Errorf("error: %v", err)
	}
	if err := report(&end, nil, nil); err != nil {
		t.Errorf("error: %v", err)
	}
}

// The linter is not of this module: without a network it may not be had, and then is
// no failure.
func TestLinterIsFetched(t *testing.T) {
	for _, s := range checkSteps(nil, nil, nil) {
		if s.name != "staticcheck" {
			continue
		}
		// What the go command says itself, of a proxy that there is none of.
		t.Setenv("GOPROXY", "http://127.0.0.1:1")
		t.Setenv("GOMODCACHE", t.TempDir())
		t.Setenv("GOFLAGS", "-modcacherw")
		for _, mode := range []string{"http://127.0.0.1:1", "off"} {
			t.Setenv("GOPROXY", mode)
			failed, missed, err := runSteps(t.Context(), []step{s}, os.Stderr)
			if len(failed) > 0 || len(missed) != 1 || !strings.Contains(missed[0], "staticcheck: go: honnef.co/") || err != nil {
				t.Errorf("failed %+v, missed %q, %v", failed, missed, err)
			}
		}
		return
	}
	t.Error("no step staticcheck")
}
