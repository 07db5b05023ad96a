package qemu

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestConsole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	c, err := newConsole(file)
	if err != nil {
		t.Fatal(err)
	}
	text := "\x1bc\x1b[?7lfirmware\r\n\r\nKernel pa"
	c.Write([]byte(text))
	c.Write([]byte("nic\nlast"))
	c.Close()
	if want := []string{"firmware", "Kernel panic", "last"}; !slices.Equal(c.tail, want) {
		t.Errorf("tail: %q, want %q", c.tail, want)
	}
	if want := []string{"Kernel panic"}; !slices.Equal(c.bad, want) {
		t.Errorf("bad: %q, want %q", c.bad, want)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != text+"nic\nlast" {
		t.Errorf("log: %q, %v", b, err)
	}
}

// Whatever must not be on a console is found, in a line without an end too, and
// where such a line is cut.
func TestConsoleBad(t *testing.T) {
	words := []string{"Kernel panic", "BUG:", "Oops", "KVM internal error"}
	if !slices.Equal(badConsole, words) {
		t.Errorf("a console must not say %q; want %q", badConsole, words)
	}
	for _, bad := range words {
		if len(bad) > longestBad {
			t.Errorf("%q is longer than longestBad", bad)
		}
		for _, pad := range []int{0, maxConsoleLine - len(bad), maxConsoleLine - 2, maxConsoleLine, 3*maxConsoleLine - 1} {
			c, err := newConsole(filepath.Join(t.TempDir(), "log"))
			if err != nil {
				t.Fatal(err)
			}
			c.Write(bytes.Repeat([]byte("x"), pad-min(pad, 10)))
			for _, b := range []byte(strings.Repeat("x", min(pad, 10)) + bad) {
				c.Write([]byte{b}) // as a guest does that has all the time
			}
			c.Close()
			if len(c.bad) == 0 {
				t.Errorf("%q behind %d bytes goes unseen", bad, pad)
			}
		}
	}
}

// A console without end or newline is given up, and takes neither memory nor disk
// without bound.
func TestConsoleFull(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	c, err := newConsole(file)
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range maxConsole >> 20 {
		if n, err := c.Write(chunk); n != len(chunk) || err != nil {
			t.Fatal(n, err)
		}
	}
	select {
	case <-c.full:
		t.Error("full too early")
	default:
	}
	for range 3 {
		if n, err := c.Write(chunk); n != len(chunk) || err != nil {
			t.Fatal(n, err)
		}
	}
	select {
	case <-c.full:
	default:
		t.Error("never full")
	}
	if cap(c.part) > 4*len(chunk) {
		t.Errorf("%d bytes of a line are kept", cap(c.part))
	}
	c.Close()
	if fi, err := os.Stat(file); err != nil || fi.Size() != maxConsole {
		t.Errorf("%v, %v", fi.Size(), err)
	}
}
