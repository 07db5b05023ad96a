package qemu

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Guests fill the processors to the end, and each test is in one of them.
func TestGuests(t *testing.T) {
	all := Shard{1, 1}
	for _, x := range []struct {
		targets, jobs int
		run           string
		shard         Shard
		want          string
	}{
		{1, 1, "", all, "a 1/1"},
		{1, 2, "", all, "a 1/2, a-2 2/2"},
		{2, 2, "", all, "b 1/1, a 1/1"},
		{3, 2, "", all, "c 1/1, b 1/1, a 1/2, a-2 2/2"},
		{4, 2, "", all, "d 1/1, c 1/1, b 1/1, a 1/1"},
		{1, 128, "", all, "a 1/4, a-2 2/4, a-3 3/4, a-4 4/4"},
		{3, 8, "", all, "c 1/2, c-2 2/2, b 1/2, b-2 2/2, a 1/2, a-2 2/2"},
		{1, 2, "TestX", all, "a 1/1"}, // of which there may be one
		{1, 2, "", Shard{2, 3}, "a 2/3"},
		{1, 2, "", Shard{}, "a 1/2, a-2 2/2"},
	} {
		c := Config{Jobs: x.jobs, Run: x.run, Shard: x.shard}
		for i := range x.targets {
			c.Targets = append(c.Targets, Target{Name: string(rune('a' + i))})
		}
		var got []string
		for _, g := range c.guests(c.Targets) {
			got = append(got, fmt.Sprintf("%s %d/%d", g.name, g.shard.I, g.shard.N))
		}
		if s := strings.Join(got, ", "); s != x.want {
			t.Errorf("%d targets, %d at once, RUN=%s, shard %v: %s; want %s", x.targets, x.jobs, x.run, x.shard, s, x.want)
		}
	}
}

// What any guest of a target says counts for the target.
func TestMerge(t *testing.T) {
	at := time.Now()
	x, y := Target{Name: "x"}, Target{Name: "y"}
	test := func(name string, o Outcome) []*Test { return []*Test{{Name: name, Outcome: o}} }
	c := Config{Targets: []Target{x, y}}
	merged := c.merge([]*Result{
		{Target: y, Kernel: "6.1", Tests: test("A", Pass)},
		{Target: x, Boot: 2, Wall: 10, Log: "x.log", Tests: test("A", Pass), start: at},
		{Target: x, Kernel: "6.1", Boot: 3, Wall: 9, Log: "x-2.log", Tests: test("B", Fail), start: at.Add(5),
			Problems: []string{"ended"}, Console: []string{"last words"}},
	})
	if len(merged) != 2 || merged[0].Target.Name != "x" || merged[1].Target.Name != "y" {
		t.Fatalf("%+v", merged)
	}
	r := merged[0]
	if r.Passed() || !merged[1].Passed() {
		t.Error("the verdicts are of other targets, or of one guest")
	}
	if r.Kernel != "6.1" || r.Boot != 3 || r.Wall != 14 || r.Log != "x.log, x-2.log" || r.Count(Pass) != 1 || r.Count(Fail) != 1 ||
		!slices.Equal(r.Problems, []string{"ended"}) || !slices.Equal(r.Console, []string{"last words"}) {
		t.Errorf("%+v", r)
	}
}
