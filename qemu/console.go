package qemu

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"sync"
)

// badConsole is what no console may say, whatever the tests report.
var badConsole = []string{"Kernel panic", "BUG:", "Oops", "KVM internal error"}

// consoleTail is how many lines of a console are kept for a report.
const consoleTail = 20

// A console keeps what a guest's console says: all of it in a file, the last
// lines, and the lines that must not be there.
type console struct {
	mu   sync.Mutex // QEMU's stdout and stderr are written by two goroutines
	file *os.File
	part []byte
	tail []string
	bad  []string
	err  error
}

func newConsole(path string) (*console, error) {
	f, err := os.Create(path)
	return &console{file: f}, err
}

// Write implements io.Writer. It never fails, since that would stop the guest;
// an error of the file is kept for the end.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.file.Write(p); err != nil && c.err == nil {
		c.err = err
	}
	c.part = append(c.part, p...)
	for {
		line, rest, ok := bytes.Cut(c.part, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		c.line(string(line))
		c.part = rest
	}
}

// Close implements io.Closer.
func (c *console) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.part) > 0 {
		c.line(string(c.part))
		c.part = nil
	}
	if err := c.file.Close(); err != nil && c.err == nil {
		c.err = err
	}
	return nil
}

// control matches what firmware sends to set up a terminal.
var control = regexp.MustCompile(`\x1b(\[[0-9;?=]*[A-Za-z]|[^\[])|[\x00-\x08\x0b-\x1f]`)

func (c *console) line(s string) {
	s = strings.TrimSpace(control.ReplaceAllString(s, ""))
	if s == "" {
		return
	}
	for _, bad := range badConsole {
		if strings.Contains(s, bad) {
			c.bad = append(c.bad, s)
			break
		}
	}
	c.tail = append(c.tail, s)
	if len(c.tail) > consoleTail {
		c.tail = c.tail[1:]
	}
}
