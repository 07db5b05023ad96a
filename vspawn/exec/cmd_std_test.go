//go:build linux && !(amd64 || arm64 || riscv64)

package exec

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/vspawn/vspawn/tests/helper"
	"github.com/vspawn/vspawn/vspawn"
)

func TestMain(m *testing.M) { helper.Main(m) }

// cat copies its input to its output and its error output.
var cat = helper.New("cat", func([]string) int {
	io.Copy(io.MultiWriter(os.Stdout, os.Stderr), os.Stdin)
	return 1
})

// Where vspawn has nothing to offer the package is os/exec.
func TestStandard(t *testing.T) {
	argv := cat.Argv()
	c := Command(argv[0], argv[1:]...)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if c.Process == nil {
		t.Error("no Process")
	}
	io.WriteString(in, "hello")
	in.Close()
	if got, err := io.ReadAll(out); string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	var exit *ExitError
	if err := c.Wait(); !errors.As(err, &exit) || c.ProcessState.ExitCode() != 1 {
		t.Errorf("got %v, %v", err, c.ProcessState)
	}

	ctx, cancel := context.WithCancel(t.Context())
	c = CommandContext(ctx, argv[0], argv[1:]...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	c.Stdin = r
	c.Cancel = func() error { return c.Process.Kill() } // while Output runs
	go cancel()
	if _, err := c.Output(); err == nil {
		t.Error("there was no cancel")
	}
	if (&Cmd{Path: "/x", Args: []string{"x", "y"}}).String() != "/x y" {
		t.Error("String")
	}
}

// An Attr is an error there.
func TestAttr(t *testing.T) {
	argv := cat.Argv()
	c := Command(argv[0], argv[1:]...)
	c.Attr = &vspawn.Attr{}
	if err := c.Run(); !errors.Is(err, errors.ErrUnsupported) || c.Process != nil {
		t.Errorf("got %v", err)
	}
}
