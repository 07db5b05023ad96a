// Package gocmd runs the go command.
package gocmd

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"time"
)

// A Command is a go command in a place.
type Command struct {
	Program string // its path, or its name in PATH
	Dir     string // to run it in; the working directory if empty
	Env     []string
}

// Run runs it, and gives what it printed. It ends with the context.
func (c *Command) Run(ctx context.Context, args ...string) (stdout, stderr []byte, err error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Program, args...)
	cmd.Dir, cmd.Env = c.Dir, c.Env
	cmd.Stdout, cmd.Stderr = &out, &errs
	// An interrupted go command removes its temporary files.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	return out.Bytes(), errs.Bytes(), err
}

// Complaint is what it says on stderr, without its news of downloads.
func Complaint(stderr []byte) string {
	var lines []string
	for line := range strings.Lines(string(stderr)) {
		if !strings.HasPrefix(line, "go: downloading ") {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, ""))
}
