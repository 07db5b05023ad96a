package wire

import (
	"fmt"
	"regexp"
	"strings"
)

// A Selector chooses tests by regular expression and by shard. Guest and host
// choose alike, so that the host knows by itself what has to run.
type Selector struct {
	top    *regexp.Regexp // for names of tests
	sub    string         // for names of subtests: "" or "/…"
	shard  int
	shards int
	seen   int
}

// NewSelector takes what -test.run does, and a part of shards, from 0.
func NewSelector(run string, shard, shards int) (*Selector, error) {
	top, sub := splitRun(run)
	if sub != "" && (parts(top, '|') > 1 || parts(sub, '|') > 1) {
		return nil, fmt.Errorf("alternatives (|) and subtests (/) together: put the alternatives in parentheses")
	}
	re, err := regexp.Compile(top)
	if err != nil {
		return nil, err
	}
	return &Selector{top: re, sub: sub, shard: shard, shards: max(shards, 1)}, nil
}

// ParseShard reads "i/n", from 1, as a number from 0 and how many there are; "" is
// all in one.
func ParseShard(s string) (shard, shards int, err error) {
	if s == "" {
		return 0, 1, nil
	}
	if _, err := fmt.Sscanf(s, "%d/%d", &shard, &shards); err != nil || shard < 1 || shard > shards {
		return 0, 0, fmt.Errorf("%s=%s is no part i/n", ShardEnv, s)
	}
	return shard - 1, shards, nil
}

// splitRun parts run at its first slash outside of brackets, as -test.run does.
func splitRun(run string) (top, sub string) {
	if at := split(run, '/'); len(at) > 0 {
		return run[:at[0]], run[at[0]:]
	}
	return run, ""
}

// parts counts those that sep parts a pattern into.
func parts(pattern string, sep byte) int { return len(split(pattern, sep)) + 1 }

// split finds sep in a pattern where it is in no brackets or parentheses.
func split(pattern string, sep byte) (at []int) {
	brackets, depth := 0, 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case c == '[':
			brackets++
		case c == ']':
			brackets = max(brackets-1, 0) // a lone one is itself
		case brackets > 0:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == sep && depth == 0:
			at = append(at, i)
		}
	}
	return at
}

// Choose returns those of names that the selector takes. Shards count over all
// calls, so that binaries with few tests are spread too.
func (s *Selector) Choose(names []string) []string {
	var chosen []string
	for _, name := range names {
		if !s.top.MatchString(name) {
			continue
		}
		if s.seen%s.shards == s.shard {
			chosen = append(chosen, name)
		}
		s.seen++
	}
	return chosen
}

// ChooseOf returns those of a binary's tests, given all that it lists, that the
// selector takes. Tests that stay together count as one.
func (s *Selector) ChooseOf(b *Binary, all []string) []string {
	names := b.Without(all)
	if !b.Together {
		return s.Choose(names)
	}
	whole := Selector{top: s.top, shards: 1}
	chosen := whole.Choose(names)
	if len(chosen) == 0 {
		return nil
	}
	s.seen++
	if (s.seen-1)%s.shards != s.shard {
		return nil
	}
	return chosen
}

// Pattern is the -test.run that matches just the tests of names.
func (s *Selector) Pattern(names []string) string {
	return "^(" + strings.Join(names, "|") + ")$" + s.sub
}

// TestNames reads the output of -test.list. Benchmarks are left out: they run
// by -test.bench only.
func TestNames(list string) []string {
	var names []string
	for line := range strings.Lines(list) {
		name := strings.TrimSpace(line)
		for _, prefix := range []string{"Test", "Example", "Fuzz"} {
			if strings.HasPrefix(name, prefix) {
				names = append(names, name)
			}
		}
	}
	return names
}
