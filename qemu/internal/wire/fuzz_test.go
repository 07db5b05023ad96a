package wire

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// Whatever a record is to carry, it is sent in lines that the host reads, and no test's
// name is lost.
func FuzzFit(f *testing.F) {
	f.Add("TestA\nTestB", "exit status 1", "sleep\ncat", 1)
	f.Add("Test\"\x00\xff\n", "\x1b[0m", "", 40000)
	f.Fuzz(func(t *testing.T, tests, status, leaked string, times int) {
		times = max(0, min(times, 1<<17/(len(tests)+1)))
		if len(tests) > maxTests || slices.ContainsFunc(strings.Split(tests, "\n"), notPlain) {
			t.Skip("no names of tests")
		}
		names := strings.Split(strings.Repeat(tests+"\n", times)+tests, "\n")
		r := Record{Kind: List, Binary: "b", Tests: names, Leaked: strings.Split(leaked, "\n")}
		r.Status = strings.Repeat(status, times)
		var got []string
		all := Fit(r)
		for i, part := range all {
			line, err := json.Marshal(part)
			if err != nil {
				t.Fatal(err)
			}
			if len(line) > MaxLine-100 { // with what is around it
				t.Errorf("part %d has %d bytes", i, len(line))
			}
			if part.More != (i < len(all)-1) {
				t.Errorf("part %d of %d says %v of there being more", i, len(all), part.More)
			}
			got = append(got, part.Tests...)
		}
		if !slices.Equal(got, names) {
			t.Errorf("%d names have become %d", len(names), len(got))
		}
	})
}

// notPlain tells whether JSON takes more than a byte for one of a name.
func notPlain(name string) bool {
	b, err := json.Marshal(name)
	return err != nil || len(b) != len(name)+2
}

// The parts of a run have each test once, whatever the pattern.
func FuzzSelector(f *testing.F) {
	f.Add("^Test[AB]$/x", "TestA\nTestB\nTestC", 3, false)
	f.Add("A|B", "TestA\nTestB", 2, true)
	f.Add("(A|B)/[/]|\\", "", 1, false)
	f.Fuzz(func(t *testing.T, run, names string, shards int, together bool) {
		if shards < 1 || shards > 64 {
			t.Skip("no number of parts")
		}
		b := &Binary{Name: "b", Together: together}
		whole, err := NewSelector(run, 0, 1)
		if err != nil {
			return
		}
		want := whole.ChooseOf(b, strings.Split(names, "\n"))
		var got []string
		for i := range shards {
			s, err := NewSelector(run, i, shards)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, s.ChooseOf(b, strings.Split(names, "\n"))...)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%d parts choose %q, the whole is %q", shards, got, want)
		}
	})
}
