package wire

import (
	"slices"
	"testing"
)

func TestSplitRun(t *testing.T) {
	for run, want := range map[string][2]string{
		"":                {"", ""},
		"TestA":           {"TestA", ""},
		"TestA/sub/x":     {"TestA", "/sub/x"},
		"Test[/]A/sub":    {"Test[/]A", "/sub"},
		"Test(A/x|B)/sub": {"Test(A/x|B)", "/sub"},
		`Test\[/sub`:      {`Test\[`, "/sub"},
		"Test[(]/c":       {"Test[(]", "/c"},
		"Test]/c":         {"Test]", "/c"},
	} {
		if top, sub := splitRun(run); top != want[0] || sub != want[1] {
			t.Errorf("splitRun(%q) = %q, %q, want %q", run, top, sub, want)
		}
	}
}

func TestPattern(t *testing.T) {
	s, err := NewSelector("(A|B)/(sub|x)", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	chosen := s.Choose([]string{"TestA", "TestB", "TestC"})
	if want := "^(TestA|TestB)$/(sub|x)"; s.Pattern(chosen) != want {
		t.Errorf("pattern %q, want %q", s.Pattern(chosen), want)
	}
	for _, bad := range []string{"(", "A|B/sub", "A/x|B", "A/x|y"} {
		if _, err := NewSelector(bad, 0, 1); err == nil {
			t.Errorf("%q gave no error", bad)
		}
	}
}

// TestShards wants each test in one shard, and binaries of one test each not
// all in the first.
func TestShards(t *testing.T) {
	binaries := [][]string{{"TestA", "TestB", "TestC"}, {"TestD"}, {"TestE"}}
	var all []string
	for shard := range 3 {
		s, err := NewSelector("", shard, 3)
		if err != nil {
			t.Fatal(err)
		}
		var here []string
		for _, names := range binaries {
			here = append(here, s.Choose(names)...)
		}
		if len(here) == 0 {
			t.Errorf("shard %d has no test", shard)
		}
		all = append(all, here...)
	}
	slices.Sort(all)
	if want := []string{"TestA", "TestB", "TestC", "TestD", "TestE"}; !slices.Equal(all, want) {
		t.Errorf("all shards together: %q, want %q", all, want)
	}
}

// Tests that stay together are all in one part, and such binaries are spread too.
func TestTogether(t *testing.T) {
	names := []string{"TestA", "TestB", "TestSkipped"}
	got := map[string]int{}
	for shard := range 2 {
		s, err := NewSelector("A|B|S", shard, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []Binary{{Name: "x"}, {Name: "y"}, {Name: "z"}, {Name: "none"}} {
			b.Together, b.Skip = true, []string{"TestSkipped"}
			all := names
			if b.Name == "none" {
				all = []string{"TestD"}
			}
			chosen := s.ChooseOf(&b, all)
			if len(chosen) != 0 && !slices.Equal(chosen, names[:2]) {
				t.Errorf("part %d of %s: %q", shard, b.Name, chosen)
			}
			if len(chosen) > 0 {
				got[b.Name] += shard + 1
			}
		}
	}
	if got["x"] != 1 || got["y"] != 2 || got["z"] != 1 || got["none"] != 0 {
		t.Errorf("by part: %v", got)
	}
}

func TestParseShard(t *testing.T) {
	for s, want := range map[string][2]int{"": {0, 1}, "1/1": {0, 1}, "3/4": {2, 4}} {
		if shard, shards, err := ParseShard(s); err != nil || [2]int{shard, shards} != want {
			t.Errorf("%q: %d, %d, %v; want %v", s, shard, shards, err, want)
		}
	}
	for _, s := range []string{"0/1", "2/1", "1", "x", "/"} {
		if _, _, err := ParseShard(s); err == nil {
			t.Errorf("%q gave no error", s)
		}
	}
}

func TestTestNames(t *testing.T) {
	got := TestNames("TestA\nBenchmarkB\nExample_c\nFuzzD\nPASS\nok \tpkg\t0.1s\n")
	if want := []string{"TestA", "Example_c", "FuzzD"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
