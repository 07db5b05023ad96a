package qemu

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
)

// A person at the shell of a test image runs a test as the agent does, in its folder
// and with its environment; the end of the shell is the machine's.
func TestGuestShell(t *testing.T) {
	target, _ := lookup(testTarget)
	k := testKernel(t, target)
	c := fakeConfig(t)
	c.Env = []string{"VSPAWN_OWN=given"}
	c.Run = "^TestPass$"
	line, err := Shell(t.Context(), c, target, k, "")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "exit powers the machine off") {
			// gosh takes no exit behind other commands of a line.
			io.WriteString(in, "guest 'misbehave[noinline]'; echo own=$VSPAWN_OWN target=$VSPAWN_TARGET\nexit\n")
		}
	}
	err = cmd.Wait()
	text := said.String()
	for _, want := range []string{
		"    guest 'misbehave[noinline]' -test.run '^TestPass$'", "--- PASS: TestPass", "\nPASS", "own=given target=" + testTarget,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if err != nil || strings.Contains(text, "TestSkip") || t.Failed() {
		t.Errorf("%v\n%s", err, text)
	}
}

// What is wrong with the choice of tests is told before anything is built.
func TestShellRefuses(t *testing.T) {
	c := Config{Run: "(", Build: filepath.Join(t.TempDir(), "build"), Out: os.Stdout}
	if _, err := Shell(t.Context(), c, Targets[0], supply.Kernel{}, ""); !usage.Is(err) || !strings.Contains(err.Error(), "RUN=(") {
		t.Errorf("error: %v", err)
	}
	if _, err := os.Stat(c.Build); err == nil {
		t.Error("there is something built")
	}
}
