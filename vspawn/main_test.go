//go:build linux

package vspawn

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helpers are what the test binary does when it is started as a child: its
// first argument says which.
var helpers = map[string]func(args []string){
	// exit ends with the status of its argument.
	"exit": func(args []string) { var n int; fmt.Sscan(args[0], &n); os.Exit(n) },
	// cat copies its input to its output until the end.
	"cat": func([]string) {
		in := bufio.NewReader(os.Stdin)
		in.WriteTo(os.Stdout)
	},
	// sleep lives until it is killed.
	"sleep": func([]string) { time.Sleep(time.Hour) },
	// fds lists its open descriptors as "number:device:inode".
	"fds": func(args []string) {
		for _, fd := range openDescriptors() {
			var st unix.Stat_t
			if unix.Fstat(fd, &st) == nil {
				fmt.Printf("%d:%d:%d\n", fd, st.Dev, st.Ino)
			}
		}
	},
}

const helperName = "vspawn-helper"

func TestMain(m *testing.M) {
	if os.Args[0] == helperName {
		helpers[os.Args[1]](os.Args[2:])
		os.Exit(0)
	}
	before := openDescriptors()
	code := m.Run()
	if code == 0 {
		code = leaks(len(before))
	}
	os.Exit(code)
}

// leaks tells of children and descriptors that the tests have left.
func leaks(descriptors int) int {
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != unix.ECHILD {
		fmt.Println("FAIL: a test has left a child")
		return 1
	}
	// The runtime's poller and our own stay.
	if now := openDescriptors(); len(now) > descriptors+4 {
		fmt.Printf("FAIL: a test has left descriptors: %d before, now %v\n", descriptors, now)
		return 1
	}
	return 0
}

// openDescriptors are those that the runtime has not opened for itself.
func openDescriptors() []int {
	var open []int
	for fd := range 1024 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			open = append(open, fd)
		}
	}
	return open
}

// helper is how to start one.
func helper(args ...string) (path string, argv []string) {
	return "/proc/self/exe", append([]string{helperName}, args...)
}

// startHelper starts a helper.
func startHelper(t *testing.T, attr *Attr, args ...string) *Process {
	t.Helper()
	path, argv := helper(args...)
	p, err := Start(t.Context(), path, argv, attr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// output runs a helper and gives the lines that it printed.
func output(t *testing.T, attr Attr, args ...string) []string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if attr.Files == nil {
		attr.Files = []File{{Child: 0}, {Child: 1, File: w}, {Child: 2, Parent: 2}}
	}
	p := startHelper(t, &attr, args...)
	w.Close()
	var lines []string
	for s := bufio.NewScanner(r); s.Scan(); {
		lines = append(lines, strings.TrimSpace(s.Text()))
	}
	if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
		t.Fatalf("helper %v: %v, %v", args, s, err)
	}
	return lines
}

// emulated tells whether qemu-user runs us.
func emulated(t *testing.T) bool {
	t.Helper()
	f, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	return !f.SharedMemory
}
