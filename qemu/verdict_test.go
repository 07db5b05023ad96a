package qemu

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

const passing = "\x16=== RUN   TestA\n\x16--- PASS: TestA (0.25s)\n\x16=== NAME  \n\x16PASS\n"

// play judges a guest that sends records and has said text on its console.
func play(t *testing.T, text string, vmErr error, records ...wire.Record) *Result {
	t.Helper()
	test2json, err := findTest2JSON()
	if err != nil {
		t.Fatal(err)
	}
	s := fakeSession(t, test2json, text)
	s.res.Log = "console.log"
	gaveUp := false
	for _, r := range records {
		if err := s.record(r); err != nil {
			s.res.problem("%v", err)
			gaveUp = true
			break
		}
	}
	return endFake(t, s, vmErr, gaveUp)
}

// fakeSession is one with a guest that has one binary with one test, and has said text on
// its console.
func fakeSession(t *testing.T, test2json, text string) *session {
	t.Helper()
	con, err := newConsole(filepath.Join(t.TempDir(), "console.log"))
	if err != nil {
		t.Fatal(err)
	}
	con.Write([]byte(text))
	con.Close()
	selector, err := wire.NewSelector("", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	s := &session{
		target: Targets[0], limits: Limits{time.Minute, time.Minute}, test2json: test2json, console: con,
		output: io.Discard, report: func(Status) {}, selector: selector,
		suites: []suite{{Binary: wire.Binary{Name: "b"}, tests: []string{"TestA"}}},
	}
	s.begin()
	return s
}

// endFake judges it when its last record is taken.
func endFake(t *testing.T, s *session, vmErr error, gaveUp bool) *Result {
	t.Helper()
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

// says makes a binary's output text.
func says(text string) func(*wire.Record) {
	return func(r *wire.Record) {
		if r.Kind == wire.Output {
			r.Data = []byte(text)
		}
	}
}

// verdicts are runs, and what is to be said of each.
var verdicts = []struct {
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
		says("\x16=== RUN   TestA\n\x16--- FAIL: TestA (0.25s)\n\x16=== NAME  \n\x16FAIL\n")(r)
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
	{name: "a reason outside of all tests", records: records("boot list start output end done", func(r *wire.Record) {
		says(passing + "FAIL: leak check: descriptor 7 is still open: /x\n")(r)
		if r.Kind == wire.End {
			r.Status = "exit status 1"
		}
	}), want: "b ended with exit status 1: FAIL: leak check: descriptor 7 is still open: /x"},
	{name: "a test that never began", records: records("boot list start output end done", says("\x16PASS\n")),
		want: "b did not run 1 of its tests: TestA"},
	{name: "a status that a failed test does not explain", records: records("boot list start output end done", func(r *wire.Record) {
		says("\x16=== RUN   TestA\n\x16--- FAIL: TestA (0.25s)\n\x16=== NAME  \n\x16FAIL\n")(r)
		if r.Kind == wire.End {
			r.Status = "exit status 2"
		}
	}), want: "b ended with exit status 2"},
	{name: "a test without an end", records: records("boot list start output end done", says("\x16=== RUN   TestA\n"))},
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
		says(passing+"\x16=== RUN   TestGhost\n\x16--- PASS: TestGhost (0.00s)\n\x16=== NAME  \n\x16PASS\n")), want: "b ran what was not to run: TestGhost"},
	{name: "only skips", records: records("boot list start output end done", says("\x16=== RUN   TestA\n    a.go:1: why\n\x16--- SKIP: TestA (0.00s)\n\x16=== NAME  \n\x16PASS\n")),
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

func TestVerdict(t *testing.T) {
	for _, tt := range verdicts {
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
