package qemu

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/testkit/golden"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// TestSummary shows all kinds of outcomes.
func TestSummary(t *testing.T) {
	long := make([]string, 3*failureLines)
	for i := range long {
		long[i] = "line"
	}
	good := play(t, "", nil, records("boot list start output end done", func(r *wire.Record) { r.Kernel = "6.12" })...)
	good.Boot, good.Wall = 1500*time.Millisecond, 3*time.Second
	good.Tests = append(good.Tests,
		&Test{Binary: "b", Name: "TestS", Outcome: Skip, Output: []string{"=== RUN   TestS", "    a.go:1: not here", "--- SKIP"}},
		&Test{Binary: "c", Name: "TestS", Outcome: Skip, Output: []string{"    a.go:1: not here"}},
		&Test{Binary: "c", Name: "TestT", Outcome: Skip})
	bad := play(t, "dying\n", nil, records("boot list start", nil)...)
	bad.Target, bad.Boot = Targets[1], 2*time.Second
	bad.Tests = []*Test{
		{Binary: "b", Name: "TestF", Outcome: Fail, Output: long},
		{Binary: "b", Name: "TestF/sub", Outcome: Fail},
		{Binary: "b", Name: "TestU", Outcome: Unfinished},
	}
	none := &Result{Target: Targets[2], Log: "console.log", Problems: []string{"QEMU did not start"}}
	old := play(t, "", nil, records("boot list start output end done", func(r *wire.Record) { r.Kernel = "5.10" })...)
	old.Target.Series, old.Problems = "5.10", []string{"left something"}
	standIn := play(t, "", nil, records("boot list start output end done", func(r *wire.Record) { r.Kernel = "7.2" })...)
	standIn.Target = Targets[2]
	standIn.Supply = supply.Kernel{Suite: "forky", Passed: []string{"trixie: its list is out of step"}}
	excused := &Result{Target: Targets[2], NoKernel: "trixie: its list is out of step", Excused: true}
	excused.Target.Series = "6.12"
	without := &Result{Target: Targets[3], NoKernel: "no network"}
	moved := &Result{Target: Targets[0], Problems: []string{"left something"}, Log: "console.log"}
	moved.Target.Series, moved.Target.suite = "7.9", "forky"
	stopped := &Result{Target: Targets[1], Interrupted: true, Problems: []string{"interrupted"}}
	stopped.Target.Series = "6.1"
	results := []*Result{good, bad, none, old, standIn, excused, without, stopped, moved}
	var text bytes.Buffer
	Summarize(&text, results, map[string]string{
		"RUN": "it's$", "KERNEL_" + Targets[1].Name: "/my kernel", "MODULES_" + Targets[1].Name: "a.ko,b.ko", "KERNEL_" + Targets[0].Name: "/other",
		"SHARD": "2/3", "CPUS": "4", "MEMORY": "64", "ACCEL": "tcg", "APPEND": "preempt=full", "LIMIT": "1h", "TIMEOUT": "9m", "JOBS": "2", "VSPAWN_LOAD": "1m",
	})
	golden.Check(t, filepath.Join("testdata", "summary.golden"), text.String())

	dir := t.TempDir()
	if err := writeJUnit(dir, results); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, filepath.Join("testdata", "junit.golden"), string(b))
}
