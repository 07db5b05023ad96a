//go:build linux

package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// A selector chooses tests by regular expression and by shard.
type selector struct {
	top    *regexp.Regexp // for names of tests
	sub    string         // for names of subtests: "" or "/…"
	shard  int
	shards int
	seen   int
}

func newSelector(run string, shard, shards int) (*selector, error) {
	top, sub := splitRun(run)
	re, err := regexp.Compile(top)
	if err != nil {
		return nil, err
	}
	return &selector{top: re, sub: sub, shard: shard, shards: max(shards, 1)}, nil
}

// parseShard reads "i/n", from 1, as a number from 0 and how many there are; "" is
// all in one.
func parseShard(s string) (shard, shards int, err error) {
	if s == "" {
		return 0, 1, nil
	}
	if _, err := fmt.Sscanf(s, "%d/%d", &shard, &shards); err != nil || shard < 1 || shard > shards {
		return 0, 0, fmt.Errorf("%s=%s is no part i/n", wire.ShardEnv, s)
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

// choose returns those of names that the selector takes. Shards count over all
// calls, so that binaries with few tests are spread too.
func (s *selector) choose(names []string) []string {
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

// pattern is the -test.run that matches just the tests of names.
func (s *selector) pattern(names []string) string {
	return "^(" + strings.Join(names, "|") + ")$" + s.sub
}

// testNames reads the output of -test.list. Benchmarks are left out: they run
// by -test.bench only.
func testNames(list string) []string {
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
