package qemu

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"

	"github.com/vspawn/vspawn/internal/host"
)

// A testEvent is what test2json says of a test binary's output.
type testEvent struct {
	Action  string
	Test    string
	Output  string
	Elapsed float64
}

// A converter turns the output of one test binary into events. That is Go's
// own program's work: only it is kept in step with the testing package.
type converter struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan error
}

// findTest2JSON names the program, which the go command builds if need be.
func findTest2JSON() (string, error) {
	out, err := host.Output(exec.Command("go", "tool", "-n", "test2json"))
	return strings.TrimSpace(string(out)), err
}

func startConverter(test2json string, event func(testEvent)) (*converter, error) {
	cmd := exec.Command(test2json, "-t") // without -t no test has a time
	// What a terminal sends on Ctrl-C would end it with half of a test's output,
	// which then reads as a failure. It ends with its input.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &converter{cmd, in, make(chan error, 1)}
	go func() {
		d := json.NewDecoder(out)
		for {
			var e testEvent
			if err := d.Decode(&e); err != nil {
				if err == io.EOF {
					err = nil
				}
				io.Copy(io.Discard, out)
				c.done <- err
				return
			}
			event(e)
		}
	}()
	return c, nil
}

// close ends the conversion; after it no event comes.
func (c *converter) close() error {
	c.in.Close()
	err := <-c.done
	if werr := c.cmd.Wait(); err == nil {
		err = werr
	}
	if err != nil {
		return fmt.Errorf("test2json: %w", err)
	}
	return nil
}
