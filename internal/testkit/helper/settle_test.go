//go:build linux

package helper

import (
	"os"
	"strings"
	"testing"
	"time"
)

// A file below /proc that is open for a moment as the tests end is no leak; one that
// stays open is, and so is any other at once.
func TestSettled(t *testing.T) {
	before := descriptors()
	look, err := os.Open("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { look.Close() })
	if leaks := opened(before, settled(before, time.Minute)); len(leaks) > 0 {
		t.Errorf("a file that was open for a moment is a leak: %v", leaks)
	}

	look, err = os.Open("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	leaks := strings.Join(opened(before, settled(before, 50*time.Millisecond)), "\n")
	if !strings.Contains(leaks, "/task") || !strings.Contains(leaks, os.DevNull) {
		t.Errorf("two files that stay open are %q", leaks)
	}
}
