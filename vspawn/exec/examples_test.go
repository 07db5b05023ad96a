//go:build linux

package exec_test

import (
	"io"
	"os"
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
		{"Command", ExampleCommand, "SOME INPUT\n"},
		{"Attr", ExampleCmd_Attr, "0077\n10\nfork/exec /bin/sh: vspawn: chroot /not/here (Attr.Chroot): no such file or directory\ntrue\n"},
		{"CommandContext", ExampleCommandContext, "signal: killed\n"},
	} {
		t.Run(example.name, func(t *testing.T) {
			if got := output(t, example.run); got != example.want {
				t.Errorf("it says %q, want %q", got, example.want)
			}
		})
	}
}

// output is what f writes to os.Stdout.
func output(t *testing.T, f func()) string {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	saved := os.Stdout
	defer func() { os.Stdout = saved }()
	os.Stdout = out
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
