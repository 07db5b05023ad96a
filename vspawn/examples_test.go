//go:build linux

package vspawn_test

import (
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// The examples that need the programs of a whole system say what they are to say.
func TestExamples(t *testing.T) {
	helper.SkipEmulated(t, "programs of its own")
	if _, err := os.Stat("/usr/bin/env"); err != nil {
		t.Skip("not a whole system, with a shell: ", err)
	}
	for _, example := range []struct {
		name string
		run  func()
		want string
	}{
		{"For", ExamplePlan_For, "one\ntwo\n"},
		{"File", ExampleFile, "\"hello\\n\", exit status 7, <nil>\n"},
		{"limits", Example_limits, "context deadline exceeded; signal: killed, <nil>\n"},
		{"write, then exec", Example_writeThenExec, "written\nexit status 0 <nil>\n"},
		{"memfd", Example_memfd, "exit status 3 <nil>\n"},
	} {
		t.Run(example.name, func(t *testing.T) {
			if got := output(t, example.run); got != example.want {
				t.Errorf("it says %q, want %q", got, example.want)
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
