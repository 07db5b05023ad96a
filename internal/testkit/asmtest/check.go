//go:build linux

package asmtest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// EachClone runs f with both forms of clone.
func EachClone(t *testing.T, f func(t *testing.T, create Create)) {
	for _, c := range Creates {
		t.Run(c.Name, func(t *testing.T) {
			if c.Name == "clone3" && !HasClone3() {
				t.Skip("there is no clone3")
			}
			f(t, c.Create)
		})
	}
}

// CheckExit checks that a child has ended with that exit status.
func CheckExit(t *testing.T, ws unix.WaitStatus, want int) {
	t.Helper()
	if !ws.Exited() || ws.ExitStatus() != want {
		t.Errorf("wait status %#x, want exit status %d", ws, want)
	}
}
