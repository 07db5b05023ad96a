package qemu

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
)

// Guests that lie in every way we could think of, and one that does not, in one run.
func TestLies(t *testing.T) {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(fakes)),
		func(name string) bool { return slices.Contains(inParts[1:], name) })
	c := fakeConfig(t, names...)
	if len(names)%2 == 1 { // so that none is parted
		c.Jobs = 1
	}
	results, err := Run(t.Context(), c)
	if err != nil || len(results) != len(names) {
		t.Fatalf("%d results of %d, %v", len(results), len(names), err)
	}
	for i, r := range results {
		f := fakes[names[i]]
		if r.Target.Series != names[i] || r.Passed() != f.passed || !strings.Contains(strings.Join(r.Problems, "\n"), f.want) {
			t.Errorf("%s: passed %v, want %v; problems %q, want %q", r.Target.Title(), r.Passed(), f.passed, r.Problems, f.want)
		}
		if f.passed && r.Count(Pass) != 16 {
			t.Errorf("%s: %d passed of 16", r.Target.Title(), r.Count(Pass))
		}
		if !f.passed && f.want == "" && r.failed() == 0 {
			t.Errorf("%s: no test failed", r.Target.Title())
		}
	}
}

// inParts are fakes that do something of their own as a target's second guest.
var inParts = []string{"honest", "fails-in-part-2", "lists-in-reverse"}

// A target that runs as two guests has the results of both, and nothing of an
// earlier run.
func TestParts(t *testing.T) {
	for _, name := range inParts {
		t.Run(name, func(t *testing.T) {
			c := fakeConfig(t, name)
			old := filepath.Join(c.resultsDir(), "old.log")
			if err := os.MkdirAll(c.resultsDir(), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(old, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			results, err := Run(t.Context(), c)
			if err != nil || len(results) != 1 {
				t.Fatalf("%d results, %v", len(results), err)
			}
			r := results[0]
			if r.Passed() != fakes[name].passed || len(r.Tests) != 16 || (r.Count(Fail) > 0) == r.Passed() {
				t.Errorf("passed %v, %d failed, of %d tests", r.Passed(), r.Count(Fail), len(r.Tests))
			}
			if _, err := os.Stat(old); err == nil {
				t.Error("an earlier run's results are still there")
			}
			distinct := map[string]bool{}
			for _, test := range r.Tests {
				distinct[test.Binary+" "+test.Name] = true
			}
			if len(distinct) != 16 {
				t.Errorf("%d different tests", len(distinct))
			}
			logs, _ := filepath.Glob(filepath.Join(c.resultsDir(), "*.console.log"))
			if len(logs) != 2 {
				t.Errorf("console logs: %q", logs)
			}
		})
	}
}

// What the user adds to the kernel's command line is there in each guest, and
// nothing of it without.
func TestAppend(t *testing.T) {
	c := fakeConfig(t, "appends")
	c.Append = `preempt=full a="b c"`
	results, err := Run(t.Context(), c)
	if err != nil || len(results) != 1 || !results[0].Passed() || len(results[0].Tests) != 16 {
		t.Errorf("%v, %+v", err, results)
	}
}

// What is wrong with the options costs nobody their results.
func TestWrongKernelKeepsResults(t *testing.T) {
	c := fakeConfig(t, "honest")
	old := filepath.Join(c.resultsDir(), "old.log")
	if err := os.MkdirAll(c.resultsDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, given := range []GivenFiles{{Kernel: "/nowhere"}, {Kernel: old}, {Modules: []string{old}},
		{Kernel: c.Kernels[testTarget].Kernel, Modules: []string{old}}} {
		c.Kernels = map[string]GivenFiles{testTarget: given}
		_, err := Run(t.Context(), c)
		if !usage.Is(err) || !strings.Contains(err.Error(), "_"+testTarget) {
			t.Errorf("%+v: error %v", given, err)
		}
		if _, err := os.Stat(old); err != nil {
			t.Errorf("%+v: the earlier results are gone", given)
		}
	}
}

// A target without a kernel is told of, and holds up nobody.
func TestNoKernel(t *testing.T) {
	c := fakeConfig(t, "honest")
	c.Store = &supply.Store{Dir: t.TempDir(), Mirror: supply.Mirror{URI: "http://127.0.0.1:1/debian", Tries: 1}}
	defer c.Store.Close()
	other, _ := lookup("riscv64")
	c.Targets = append(c.Targets, other)
	results, err := Run(t.Context(), c)
	if err != nil || len(results) != 2 {
		t.Fatalf("%d results, %v", len(results), err)
	}
	if !results[0].Passed() || results[1].Passed() || results[1].Verdict() != "no kernel" ||
		!strings.Contains(results[1].NoKernel, "127.0.0.1:1") || results[1].Excused {
		t.Errorf("verdicts: %s, %s: %s", results[0].Verdict(), results[1].Verdict(), results[1].NoKernel)
	}
	b, err := os.ReadFile(filepath.Join(c.resultsDir(), "junit.xml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc junitSuites
	if err := xml.Unmarshal(b, &doc); err != nil || len(doc.Suites) != 2 {
		t.Fatalf("%v\n%s", err, b)
	}
	if s := doc.Suites[1]; s.Errors != 1 || s.Cases[0].Error == nil || !strings.HasPrefix(s.Cases[0].Error.Message, "no kernel: ") {
		t.Errorf("junit.xml:\n%s", b)
	}
	// Where any kernel will do, another of the same target's speaks for it.
	same, _ := lookup(testTarget)
	same.Series, same.QEMU = "x", c.Targets[0].QEMU
	c.AnyKernel = true
	c.Targets = []Target{c.Targets[0], same, other}
	c.Kernels = map[string]GivenFiles{} // now all are fetched
	results, err = Run(t.Context(), c)
	if err != nil || len(results) != 3 {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for _, r := range results {
		if r.Verdict() != "no kernel" || r.Excused {
			t.Errorf("%s: %s, excused %v", r.Target.Title(), r.Verdict(), r.Excused)
		}
	}
	merged := c.merge([]*Result{{Target: c.Targets[0], Tests: []*Test{{Outcome: Pass}}},
		{Target: same, NoKernel: "x", notServed: true}, {Target: other, NoKernel: "x", notServed: true}})
	if !merged[1].Excused || merged[2].Excused {
		t.Errorf("excused: %v, %v; want the second kernel of a target alone", merged[1].Excused, merged[2].Excused)
	}
	merged[1].notServed = false // but for want of a tool
	if merged = c.merge(merged); merged[1].Excused {
		t.Error("what this machine lacks is excused")
	}
	if r := withoutKernel(same, host.CheckTools([]host.Tool{{Program: "no-such-tool"}})); r.NoKernel == "" || r.notServed {
		t.Errorf("%+v", r)
	}
	if !results[0].notServed {
		t.Error("a mirror that can't be reached is taken for something else")
	}
}

// A run that leaves no test, or only such as can't run here, has not passed; a part
// of the tests that somebody asked for may be of the second kind.
func TestConclude(t *testing.T) {
	skipped := []*Test{{Outcome: Skip}}
	for _, x := range []struct {
		tests []*Test
		shard bool
		want  bool
	}{
		{nil, false, false},
		{nil, true, false},
		{skipped, false, false},
		{skipped, true, true},
		{[]*Test{{Outcome: Skip}, {Outcome: Pass}}, false, true},
	} {
		r := &Result{Tests: x.tests}
		r.conclude(x.shard)
		if r.Passed() != x.want {
			t.Errorf("%d tests, a part: %v: passed %v, %q", len(x.tests), x.shard, r.Passed(), r.Problems)
		}
	}
}

// interruptedDir makes another process of this binary run a fake that stays.
const interruptedDir = "QEMU_TEST_INTERRUPTED"

// Ctrl-C reaches all processes of a terminal. The verdict is that there is none, and
// no test has failed.
func TestInterruptedRig(t *testing.T) {
	if os.Getenv(interruptedDir) != "" {
		// The rig is the last to know: by then whoever else of it ends by the
		// signal has ended.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, os.Interrupt)
		go func() {
			<-signals
			time.Sleep(time.Second)
			cancel()
		}()
		c := fakeConfig(t, fakeStay)
		c.Run = "Test" // in one guest
		results, err := Run(ctx, c)
		Summarize(os.Stdout, results, nil)
		fmt.Printf("rig: %v, %v\n", err, errors.Is(err, context.Canceled))
		return
	}
	dir := t.TempDir()
	started := filepath.Join(dir, "started")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestInterruptedRig$", "-test.v")
	cmd.Env = append(os.Environ(), interruptedDir+"="+dir, fakeStarted+"="+started)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the other rig's guest", func() bool {
		_, err := os.Stat(started)
		return err == nil
	})
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	text := out.String()
	if !strings.Contains(text, "rig: context canceled, true") || !strings.Contains(text, "interrupted\n") || strings.Contains(text, "FAILED") || strings.Contains(text, "repeat") {
		t.Errorf("the rig says:\n%s", text)
	}
}
