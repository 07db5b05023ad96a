//go:build linux

package tests

import (
	"os"
	"runtime"
	"testing"
)

func inlined() bool { return callerIsInlined() }

//go:noinline
func callerIsInlined() bool {
	pc := make([]uintptr, 1)
	runtime.Callers(2, pc)
	caller, _ := runtime.CallersFrames(pc).Next()
	return caller.Func == nil
}

// The test binaries are built with inlining on and with it off, and both pass:
// code after a vfork must not depend on who inlines what. Here the binary says
// which it is.
func TestInlining(t *testing.T) {
	got := "off"
	if inlined() {
		got = "on"
	}
	t.Log("inlining is", got)
	want, ok := os.LookupEnv("VSPAWN_INLINING")
	if !ok {
		t.Skip("VSPAWN_INLINING does not say what to expect")
	}
	if got != want {
		t.Errorf("inlining is %s, VSPAWN_INLINING is %q", got, want)
	}
}

// once skips a test that takes long, and is about no frame around the stub, in the second
// of a guest's two binaries.
func once(t *testing.T) {
	t.Helper()
	if os.Getenv("VSPAWN_INLINING") == "off" {
		t.Skip("it takes long, and is for the binary that is built with inlining")
	}
}
