//go:build linux

package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// Whatever the flags are, they make a plan, or one line says what is wrong with them.
// Nothing is started: FuzzFlags is about plan, of which run does no more than start it.
func FuzzFlags(f *testing.F) {
	for _, p := range plans {
		f.Add(strings.Join(strings.Fields(p.args), "\n"))
	}
	for _, b := range badUsage {
		if args := strings.Fields(b.args); len(args) > 1 && args[0] == "run" {
			f.Add(strings.Join(args[1:], "\n"))
		}
	}
	f.Fuzz(func(t *testing.T, args string) {
		var stdout, stderr bytes.Buffer
		status := run(&stdout, &stderr, append([]string{"plan"}, strings.Split(args, "\n")...))
		said := stderr.String()
		switch {
		case status == 0 && said == "" && stdout.Len() > 0:
		case slices.Contains([]int{exitUsage, exitCantRun, exitNotFound}, status) && stdout.Len() == 0 &&
			strings.HasPrefix(said, "vspawn: ") && strings.Index(said, "\n") == len(said)-1:
		default:
			t.Errorf("status %d, it says %q, and %q", status, said, stdout.String())
		}
	})
}
