//go:build linux

package tests

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A guest of preempt=full gives way anywhere in the kernel, and has two processors.
func TestPreemptible(t *testing.T) {
	if !slices.Contains(strings.Fields(text("/proc/cmdline")), "preempt=full") {
		t.Skip("the kernel was not started with preempt=full")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "debugfs", 0, ""); err != nil {
		if os.Getenv("VSPAWN_TARGET") != "" {
			t.Fatal("no debugfs: ", err)
		}
		t.Skip("no debugfs: ", err)
	}
	defer unix.Unmount(dir, 0)
	got, err := os.ReadFile(dir + "/sched/preempt")
	if err != nil || !strings.Contains(string(got), "(full)") {
		t.Errorf("the kernel's preemption is %q, %v", got, err)
	}
	if n := runtime.NumCPU(); n < 2 {
		t.Errorf("%d processors", n)
	}
}
