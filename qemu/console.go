package qemu

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
)

// badConsole is what no console may say, whatever the tests report.
var badConsole = []string{"Kernel panic", "BUG:", "Oops", "KVM internal error"}

// longestBad is at least as long as the longest of them.
const longestBad = 32

// agentSays begins the agent's own lines.
const agentSays = "guest: "

// consoleTail is how many lines of a console are kept for a report.
const consoleTail = 20

// maxConsole is how much of a console is kept. A guest that says more is given
// up: vmtest keeps all of it in memory too.
const maxConsole = 64 << 20

var consoleFull = fmt.Sprintf("the console says more than %d MiB", maxConsole>>20)

// maxConsoleLine is how much is taken for one line of a console that ends none.
const maxConsoleLine = 64 << 10

// A console keeps what a guest's console says: all of it in a file, the last
// lines, and the lines that must not be there.
type console struct {
	mu   sync.Mutex // QEMU's stdout and stderr are written by two goroutines
	file *os.File
	size int
	part []byte // the last line, so far
	tail []string
	bad  []string
	// agent is the last line that is the agent's own: it says there what it has
	// no port for.
	agent string
	err   error
	over  bool
	full  chan struct{} // closed once there is too much
}

func newConsole(path string) (*console, error) {
	f, err := os.Create(path)
	return &console{file: f, full: make(chan struct{})}, err
}

// Write implements io.Writer. It never fails, since that would stop the guest;
// an error of the file is kept for the end.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(p)
	if room := maxConsole - c.size; n > room {
		p = p[:room]
	}
	if len(p) < n && !c.over {
		c.over = true
		close(c.full)
	}
	c.size += len(p)
	if _, err := c.file.Write(p); err != nil && c.err == nil {
		c.err = err
	}
	for len(p) > 0 {
		text, rest, ended := bytes.Cut(p, []byte("\n"))
		c.part = append(c.part, text...)
		p = rest
		switch {
		case ended:
			c.line(string(c.part))
			c.part = c.part[:0]
		case len(c.part) > maxConsoleLine:
			// What must not be there may be in the middle of the cut.
			c.line(string(c.part))
			c.part = append(c.part[:0], c.part[len(c.part)-longestBad:]...)
		}
	}
	return n, nil
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
			if len(c.bad) < consoleTail {
				c.bad = append(c.bad, s)
			}
			break
		}
	}
	if strings.HasPrefix(s, agentSays) {
		c.agent = s
	}
	c.tail = append(c.tail, s)
	if len(c.tail) > consoleTail {
		c.tail = c.tail[1:]
	}
}
