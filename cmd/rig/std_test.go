package main

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"testing"
)

// TestStdSkips finds a reason for a test that there is none of.
func TestStdSkips(t *testing.T) {
	for p, skips := range stdSkips {
		if !slices.Contains(stdPackages, p) {
			t.Errorf("%s is none of the packages that run", p)
		}
		//lint:ignore SA1019 this test runs where the release is
		files, err := filepath.Glob(filepath.Join(runtime.GOROOT(), "src", p, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no tests of %s: %v", p, err)
		}
		for name, reason := range skips {
			if !slices.ContainsFunc(files, func(file string) bool {
				b, err := os.ReadFile(file)
				return err == nil && regexp.MustCompile(`(?m)^func `+name+`\(`).Match(b)
			}) {
				t.Errorf("%s has no %s, which was not to run: %s", p, name, reason)
			}
		}
	}
}
