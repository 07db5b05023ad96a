//go:build linux

package vspawn

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/tests/helper"
)

func TestMain(m *testing.M) { helper.Main(m) }

var (
	// exit ends with the status of its argument.
	exit = helper.New("exit", func(args []string) int {
		n, _ := strconv.Atoi(args[0])
		return n
	})
	// cat copies its input to its output until the end.
	cat = helper.New("cat", func([]string) int {
		io.Copy(os.Stdout, os.Stdin)
		return 0
	})
	// sleep lives until it is killed.
	sleep = helper.New("sleep", func([]string) int { time.Sleep(time.Hour); return 1 })
	// list prints its open descriptors as "number:device:inode".
	list = helper.New("list", func([]string) int {
		for fd := range 1024 {
			var st unix.Stat_t
			if unix.Fstat(fd, &st) == nil {
				fmt.Printf("%d:%d:%d\n", fd, st.Dev, st.Ino)
			}
		}
		return 0
	})
)

// startHelper starts a helper.
func startHelper(t *testing.T, attr *Attr, h *helper.Helper, args ...string) *Process {
	t.Helper()
	argv := h.Argv(args...)
	p, err := Start(t.Context(), argv[0], argv, attr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
