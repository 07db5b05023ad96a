//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/naive"
)

// smashed is the child's exit status, and the parent's if it wakes up in the
// child's branch.
const smashed = 5

// vforkAndSmash calls its two functions itself: the place that Smash returns
// to is the child's branch.
//
//go:nosplit
//go:norace
func vforkAndSmash() uintptr {
	pid := asm.Vfork()
	if pid != 0 {
		return pid
	}
	naive.Smash()
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, smashed, 0, 0)
	}
}

// naiveVforkAndSmash is the same with the naive stub.
//
//go:nosplit
//go:norace
func naiveVforkAndSmash() uintptr {
	pid := naive.Vfork()
	if pid != 0 {
		return pid
	}
	naive.Smash()
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, smashed, 0, 0)
	}
}

var smashHelper = helper.New("smash", func(args []string) int {
	smash := vforkAndSmash
	if args[0] == "naive" {
		smash = naiveVforkAndSmash
	}
	var pid int
	withoutSignals(func() { pid = int(smash()) })
	if pid < 0 {
		fmt.Fprintln(os.Stderr, "vfork:", unix.Errno(-pid))
		return 1
	}
	ws, err := asmtest.Wait(pid)
	if err != nil || !ws.Exited() || ws.ExitStatus() != smashed {
		fmt.Fprintf(os.Stderr, "the child: wait status %#x, %v\n", ws, err)
		return 1
	}
	return 0
})

// The child of Vfork may overwrite the words below the caller's frame, and the
// parent returns all the same. The control is a stub that leaves its return
// address there: its parent wakes up in the child's branch.
func TestVforkKeepsReturnAddress(t *testing.T) {
	t.Run("vfork", func(t *testing.T) {
		if err := smashHelper.Command("vfork").Run(); err != nil {
			t.Error(err)
		}
	})
	t.Run("naive", func(t *testing.T) {
		helper.SkipEmulated(t, "memory shared by vfork")
		err := smashHelper.Command("naive").Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != smashed {
			t.Errorf("the parent of the naive stub: %v, want exit status %d", err, smashed)
		}
	})
}
