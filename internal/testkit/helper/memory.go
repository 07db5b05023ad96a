//go:build linux

package helper

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

// MemFree is the machine's free memory, in bytes, when this process has given
// back what it can.
func MemFree(t testing.TB) int {
	t.Helper()
	debug.FreeOSMemory()
	return MemFreeNow(t)
}

// MemFreeNow is MemFree for a process that is not asked to give anything back.
func MemFreeNow(t testing.TB) int {
	t.Helper()
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	var free int
	for line := range strings.Lines(string(info)) {
		if n, _ := fmt.Sscanf(line, "MemFree: %d kB", &free); n == 1 {
			return free << 10
		}
	}
	t.Fatal("/proc/meminfo has no MemFree")
	return 0
}
