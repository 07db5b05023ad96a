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
	depth := 0
	for i := 0; i < len(run); i++ {
		switch run[i] {
		case '\\':
			i++
		case '[', '(':
			depth++
		case ']', ')':
			depth--
		case '/':
			if depth == 0 {
				return run[:i], run[i:]
			}
		}
	}
	return run, ""
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
