//go:build linux

package exec

import (
	"context"
	"debug/elf"
	"errors"
	"flag"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/vspawn/vspawn/asm"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// There are few tests where there are no stubs, unless others are asked for: those
// of what os/exec has not would fail.
func TestMain(m *testing.M) {
	if !asm.Supported {
		flag.Set("test.run", "^(TestStandard.*|TestUnique|TestExcerpt)$")
	}
	helper.Main(m)
}

// tee copies its input to its output and its error output.
var tee = helper.New("tee", func([]string) int {
	io.Copy(io.MultiWriter(os.Stdout, os.Stderr), os.Stdin)
	return 1
})

// What is true of os/exec is so here, also where the package is no more than that.
func TestStandard(t *testing.T) {
	argv := tee.Argv()
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
func TestStandardAttr(t *testing.T) {
	if asm.Supported {
		t.Skip("vspawn has stubs for this architecture")
	}
	argv := tee.Argv()
	c := Command(argv[0], argv[1:]...)
	c.Attr = &vspawn.Attr{}
	if err := c.Run(); !errors.Is(err, errors.ErrUnsupported) || c.Process != nil {
		t.Errorf("got %v", err)
	}
}

// A program has one of the two ways to start a command, not both.
func TestStandardLinked(t *testing.T) {
	if _, err := osexec.LookPath("go"); err != nil {
		t.Skip("there is no go command")
	}
	program := filepath.Join(t.TempDir(), "linked")
	build := osexec.Command("go", "build", "-o", program, "./testdata/linked")
	build.Env = append(os.Environ(), "GOARCH="+runtime.GOARCH, "CGO_ENABLED=0") // the go command's may be another
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"os/exec.(*Cmd).Start":                              !asm.Supported,
		"os.StartProcess":                                   !asm.Supported,
		"github.com/vspawn/vspawn/vspawn.(*Plan).Start":     asm.Supported,
		"github.com/vspawn/vspawn/vspawn/exec.(*Cmd).start": asm.Supported,
	} {
		if got := slices.ContainsFunc(symbols, func(s elf.Symbol) bool { return s.Name == name }); got != want {
			t.Errorf("%s is linked: %v, want %v", name, got, want)
		}
	}
}
