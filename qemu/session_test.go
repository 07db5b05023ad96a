package qemu

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

const passing = "\x16=== RUN   TestA\n\x16--- PASS: TestA (0.25s)\n\x16=== NAME  \n\x16PASS\n"

// play judges a guest that sends records and has said text on its console.
func play(t *testing.T, text string, vmErr error, records ...wire.Record) *Result {
	t.Helper()
	con, err := newConsole(filepath.Join(t.TempDir(), "console.log"))
	if err != nil {
		t.Fatal(err)
	}
	test2json, err := findTest2JSON()
	if err != nil {
		t.Fatal(err)
	}
	con.Write([]byte(text))
	con.Close()
	selector, err := wire.NewSelector("", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	s := session{
		target: Targets[0], limits: Limits{time.Minute, time.Minute}, test2json: test2json, console: con,
		output: io.Discard, report: func(Status) {}, selector: selector,
		suites: []suite{{wire.Binary{Name: "b"}, []string{"TestA"}}},
	}
	s.begin()
	s.res.Log = "console.log"
	gaveUp := false
	for _, r := range records {
		if err := s.record(r); err != nil {
			s.res.problem("%v", err)
			gaveUp = true
			break
		}
	}
	if s.current != nil {
		if err := s.current.close(); err != nil {
			t.Fatal(err)
		}
	}
	s.judge(vmErr, gaveUp)
	s.res.conclude(false)
	return s.res
}

func records(kinds string, change func(*wire.Record)) []wire.Record {
	var rs []wire.Record
	for _, kind := range strings.Fields(kinds) {
		r := wire.Record{Kind: wire.Kind(kind), Binary: "b"}
		switch r.Kind {
		case wire.List:
			r.Tests = []string{"TestA"}
		case wire.Output:
			r.Data = []byte(passing)
		case wire.Done:
			r.Ran = 1
		}
		if change != nil {
			change(&r)
		}
		rs = append(rs, r)
	}
	return rs
}

func TestVerdict(t *testing.T) {
	data := func(s string) func(*wire.Record) {
		return func(r *wire.Record) {
			if r.Kind == wire.Output {
				r.Data = []byte(s)
			}
		}
	}
	tests := []struct {
		name    string
		records []wire.Record
		console string
		vmErr   error
		want    string // problems, "" for none
		passed  bool
	}{
		{name: "pass", records: records("boot list start output end done", nil), passed: true},
		{name: "no closing record", records: records("boot list start output end", nil),
			want: "the guest ended without its closing record, with no test running"},
		{name: "no event", want: "the guest ended before its first event"},
		{name: "no event and an error", vmErr: errors.New("exit status 1"),
			want: "the guest ended before its first event (QEMU: exit status 1)"},
		{name: "error at the end", records: records("boot list start output end done", nil), vmErr: errors.New("exit status 1"),
			want: "QEMU: exit status 1"},
		{name: "panic after the closing record", records: records("boot list start output end done", nil),
			console: "x\r\n[ 1.0] Kernel panic - not syncing\r\n", want: "the console says: [ 1.0] Kernel panic - not syncing"},
		{name: "bad last line without an end", records: records("boot list start output end done", nil),
			console: "BUG: at x", want: "the console says: BUG: at x"},
		{name: "a plain failure", records: records("boot list start output end done", func(r *wire.Record) {
			data("\x16=== RUN   TestA\n\x16--- FAIL: TestA (0.25s)\n\x16=== NAME  \n\x16FAIL\n")(r)
			if r.Kind == wire.End {
				r.Status = "exit status 1"
			}
		})},
		{name: "killed", records: records("boot list start output end done", func(r *wire.Record) {
			if r.Kind == wire.End {
				r.Status = "killed by SIGSEGV"
			}
		}), want: "b ended with killed by SIGSEGV"},
		{name: "a failing status with no failed test", records: records("boot list start output end done", func(r *wire.Record) {
			if r.Kind == wire.End {
				r.Status = "exit status 1"
			}
		}), want: "b ended with exit status 1"},
		{name: "a test that never began", records: records("boot list start output end done", data("\x16PASS\n")),
			want: "b did not run 1 of its tests: TestA"},
		{name: "a status that a failed test does not explain", records: records("boot list start output end done", func(r *wire.Record) {
			data("\x16=== RUN   TestA\n\x16--- FAIL: TestA (0.25s)\n\x16=== NAME  \n\x16FAIL\n")(r)
			if r.Kind == wire.End {
				r.Status = "exit status 2"
			}
		}), want: "b ended with exit status 2"},
		{name: "a test without an end", records: records("boot list start output end done", data("\x16=== RUN   TestA\n"))},
		{name: "a leak", records: records("boot list start output end done", func(r *wire.Record) {
			if r.Kind == wire.End {
				r.Leaked = []string{"pid 9: x", "2", "3", "4", "5", "6"}
			}
		}), want: "b left these processes behind: pid 9: x, 2, 3, 4, 5 and 1 more"},
		{name: "a closing record that counts otherwise", records: records("boot list start output end done", func(r *wire.Record) {
			if r.Kind == wire.Done {
				r.Ran = 2
			}
		}), want: "the guest says it ran 2 binaries; 1 came to an end"},
		{name: "no test, where there is one", records: records("boot list done", func(r *wire.Record) { r.Tests, r.Ran = nil, 0 }),
			want: "b lists 0 tests, and not TestA, which its source has"},
		{name: "a test that no source has", records: records("boot list start output end done", func(r *wire.Record) {
			if r.Kind == wire.List {
				r.Tests = []string{"TestA", "TestB"}
			}
		}), want: "b lists TestB, which its source has not\nb did not run 1 of its tests: TestB"},
		{name: "a test that was not listed", records: records("boot list start output end done",
			data(passing+"\x16=== RUN   TestGhost\n\x16--- PASS: TestGhost (0.00s)\n\x16=== NAME  \n\x16PASS\n")), want: "b ran what was not to run: TestGhost"},
		{name: "only skips", records: records("boot list start output end done", data("\x16=== RUN   TestA\n    a.go:1: why\n\x16--- SKIP: TestA (0.00s)\n\x16=== NAME  \n\x16PASS\n")),
			want: "no test passed: 1 skipped, nothing else ran"},
		{name: "nothing was run", records: records("boot list done", func(r *wire.Record) { r.Ran = 0 }), want: "the guest ran none of the 1 tests of b"},
		{name: "nothing was listed", records: records("boot done", func(r *wire.Record) { r.Ran = 0 }), want: "the guest listed no tests of b"},
		{name: "half a list", records: records("boot list start", func(r *wire.Record) { r.More = r.Kind == wire.List }),
			want: "the guest started b, which was not to be started then"},
		{name: "a list twice", records: records("boot list list", nil), want: "the guest listed the tests of b out of their turn"},
		{name: "a list of another", records: records("boot list", func(r *wire.Record) { r.Binary = "c" }), want: "the guest listed the tests of c out of their turn"},
		{name: "a binary twice", records: records("boot list start output end start", nil), want: "the guest started b, which was not to be started then"},
		{name: "two at once", records: records("boot list start start", nil), want: "the guest started b, which was not to be started then"},
		{name: "output of nobody", records: records("boot list output", nil), want: "the guest sent output of b, which does not run"},
		{name: "output of another", records: records("boot list start output", func(r *wire.Record) {
			if r.Kind == wire.Output {
				r.Binary = "c"
			}
		}), want: "the guest sent output of c, which does not run"},
		{name: "an end twice", records: records("boot list start output end end", nil), want: "the guest ended b, which does not run"},
		{name: "an event before the first", records: records("list boot", nil), want: `the guest sent "list" out of its turn`},
		{name: "two boots", records: records("boot boot", nil), want: `the guest sent "boot" out of its turn`},
		{name: "more after the end", records: records("boot list start output end done start", nil), want: `the guest sent "start" after its closing record`},
		{name: "done before the end", records: records("boot list start output done", nil),
			want: "the guest says it ran 1 binaries; 0 came to an end\nthe guest ran none of the 1 tests of b"},
		{name: "unknown kind", records: records("boot list start output end x done", nil), want: `the guest sent an event of unknown kind "x"`},
		{name: "a console that is full at the end", records: records("boot list start output end done", nil),
			console: strings.Repeat("x", maxConsole) + "y", want: "the console says more than 64 MiB"},
		{name: "no port", console: "guest: no event port: the kernel has no virtio\n",
			want: "the guest ended before its first event: no event port: the kernel has no virtio; give its modules by MODULES_amd64=, or another kernel"},
		{name: "no port for another reason", console: "guest: mounting proc on /proc: no such device\nother\n",
			want: "the guest ended before its first event: guest: mounting proc on /proc: no such device"},
		{name: "broken", records: records("boot broken", func(r *wire.Record) {
			if r.Kind == wire.Broken {
				r.Status = "no plan"
			}
		}), want: "the guest's agent failed: no plan\nthe guest ended without its closing record, with no test running"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := play(t, tt.console, tt.vmErr, tt.records...)
			if got := strings.Join(r.Problems, "\n"); got != tt.want {
				t.Errorf("problems:\n%s\nwant:\n%s", got, tt.want)
			}
			if r.Passed() != tt.passed {
				t.Errorf("passed: %v, want %v", r.Passed(), tt.passed)
			}
		})
	}
}

func TestTestTimes(t *testing.T) {
	r := play(t, "", nil, records("boot list start output end done", nil)...)
	if len(r.Tests) != 1 || r.Tests[0].Elapsed != 250*time.Millisecond {
		t.Errorf("tests: %+v, want one of 0.25 s", r.Tests)
	}
}

func TestConsole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	c, err := newConsole(file)
	if err != nil {
		t.Fatal(err)
	}
	text := "\x1bc\x1b[?7lfirmware\r\n\r\nKernel pa"
	c.Write([]byte(text))
	c.Write([]byte("nic\nlast"))
	c.Close()
	if want := []string{"firmware", "Kernel panic", "last"}; !slices.Equal(c.tail, want) {
		t.Errorf("tail: %q, want %q", c.tail, want)
	}
	if want := []string{"Kernel panic"}; !slices.Equal(c.bad, want) {
		t.Errorf("bad: %q, want %q", c.bad, want)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != text+"nic\nlast" {
		t.Errorf("log: %q, %v", b, err)
	}
}

// Whatever must not be on a console is found, in a line without an end too, and
// where such a line is cut.
func TestConsoleBad(t *testing.T) {
	words := []string{"Kernel panic", "BUG:", "Oops", "KVM internal error"}
	if !slices.Equal(badConsole, words) {
		t.Errorf("a console must not say %q; want %q", badConsole, words)
	}
	for _, bad := range words {
		if len(bad) > longestBad {
			t.Errorf("%q is longer than longestBad", bad)
		}
		for _, pad := range []int{0, maxConsoleLine - len(bad), maxConsoleLine - 2, maxConsoleLine, 3*maxConsoleLine - 1} {
			c, err := newConsole(filepath.Join(t.TempDir(), "log"))
			if err != nil {
				t.Fatal(err)
			}
			c.Write(bytes.Repeat([]byte("x"), pad-min(pad, 10)))
			for _, b := range []byte(strings.Repeat("x", min(pad, 10)) + bad) {
				c.Write([]byte{b}) // as a guest does that has all the time
			}
			c.Close()
			if len(c.bad) == 0 {
				t.Errorf("%q behind %d bytes goes unseen", bad, pad)
			}
		}
	}
}

// A console without end or newline is given up, and takes neither memory nor disk
// without bound.
func TestConsoleFull(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	c, err := newConsole(file)
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range maxConsole >> 20 {
		if n, err := c.Write(chunk); n != len(chunk) || err != nil {
			t.Fatal(n, err)
		}
	}
	select {
	case <-c.full:
		t.Error("full too early")
	default:
	}
	for range 3 {
		if n, err := c.Write(chunk); n != len(chunk) || err != nil {
			t.Fatal(n, err)
		}
	}
	select {
	case <-c.full:
	default:
		t.Error("never full")
	}
	if cap(c.part) > 4*len(chunk) {
		t.Errorf("%d bytes of a line are kept", cap(c.part))
	}
	c.Close()
	if fi, err := os.Stat(file); err != nil || fi.Size() != maxConsole {
		t.Errorf("%v, %v", fi.Size(), err)
	}
}

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
	golden(t, "summary.golden", text.String())

	dir := t.TempDir()
	if err := writeJUnit(dir, results); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "junit.golden", string(b))
}

// What nobody takes yet is kept, in its order.
func TestUnbounded(t *testing.T) {
	in := make(chan int)
	out := unbounded(in)
	for i := range 1000 {
		in <- i
	}
	close(in)
	n := 0
	for v := range out {
		if v != n {
			t.Fatalf("value %d is %d", n, v)
		}
		n++
	}
	if n != 1000 {
		t.Errorf("%d values of 1000", n)
	}
}
