//go:build linux

package vspawn

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

func TestMain(m *testing.M) {
	if apart != "" {
		mainApart(m)
	}
	helper.Main(m)
}

var (
	// cat copies its input to its output until the end.
	cat = helper.New("cat", func([]string) int {
		io.Copy(os.Stdout, os.Stdin)
		return 0
	})
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

// exits is the command line of a program that ends with status.
func exits(tb testing.TB, status byte) []string { return helper.Emulate(tiny.Exit(tb, status)) }

// startSleep starts a program that lives until it is killed.
func startSleep(t *testing.T, attr *Attr) *Process {
	t.Helper()
	return startArgv(t, attr, helper.Emulate(tiny.Sleep(t)))
}

// startHelper starts a helper.
func startHelper(t *testing.T, attr *Attr, h *helper.Helper, args ...string) *Process {
	t.Helper()
	return startArgv(t, attr, h.Argv(args...))
}

func startArgv(t *testing.T, attr *Attr, argv []string) *Process {
	t.Helper()
	p, err := Start(t.Context(), argv[0], argv, attr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// withoutDescriptors runs f while there is no descriptor to be had.
func withoutDescriptors(f func()) error {
	var was unix.Rlimit
	free, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Close(free), unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	}
	if err == nil {
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(free), Max: was.Max})
	}
	if err != nil {
		return err
	}
	f()
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
}
