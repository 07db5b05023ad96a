//go:build linux

package tests

import (
	"fmt"
	"io"

	"github.com/vspawn/vspawn/vspawn/exec"
)

// readPipe runs a Cmd whose output is read by a pipe.
func readPipe(cmd *exec.Cmd) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if b, err := io.ReadAll(out); len(b) > 0 || err != nil {
		return fmt.Errorf("its output is %q, %v", b, err)
	}
	return cmd.Wait()
}
