//go:build linux

package helper

import (
	"io"
	"os"
	"syscall"
	"testing"
)

// An Example is one that needs the programs of a whole system.
type Example struct {
	Name string
	Run  func()
	Want string // what it, and what it starts, write to the standard output
}

// Examples runs those that example tests can't, since they are to be skipped somewhere.
func Examples(t *testing.T, list []Example) {
	SkipEmulated(t, "programs of its own")
	if _, err := os.Stat("/usr/bin/env"); err != nil {
		t.Skip("not a whole system, with a shell: ", err)
	}
	for _, e := range list {
		t.Run(e.Name, func(t *testing.T) {
			if got := output(t, e.Run); got != e.Want {
				t.Errorf("it says %q, want %q", got, e.Want)
			}
		})
	}
}

// output is what f, and what it starts, write to the standard output.
func output(t *testing.T, f func()) string {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	saved, err := syscall.Dup(1)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(saved)
	if err := syscall.Dup3(int(out.Fd()), 1, 0); err != nil {
		t.Fatal(err)
	}
	defer syscall.Dup3(saved, 1, 0)
	f()
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
