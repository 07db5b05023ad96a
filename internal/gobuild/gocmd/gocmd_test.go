package gocmd

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestComplaint(t *testing.T) {
	const said = "go: downloading a v1\n# a\na.go:1: bad\ngo: downloading b v1\nsee above\n"
	if got, want := Complaint([]byte(said)), "# a\na.go:1: bad\nsee above"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The command is told of the context's end, so that it can clean up.
func TestRunIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ready := filepath.Join(t.TempDir(), "ready")
	go func() {
		defer cancel()
		for range 6000 {
			if _, err := os.Stat(ready); err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	c := Command{Program: "sh", Env: append(os.Environ(), "READY="+ready)}
	const script = `trap 'echo cleaned up; echo why >&2; exit 3' INT; : >"$READY"; while :; do sleep 0.01; done`
	out, errs, err := c.Run(ctx, "-c", script)
	if string(out) != "cleaned up\n" || string(errs) != "why\n" || err == nil {
		t.Errorf("got %q, %q, %v", out, errs, err)
	}
}
