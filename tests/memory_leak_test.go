//go:build linux

package tests

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// Children that fail leave no memory behind, whichever step they die in: killed
// in each in turn, five hundred times in all, they take nothing from the free
// memory of a machine without an MMU, where a program's image is megabytes.
func TestKilledStepsLeaveNoMemory(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	if helper.MMU() {
		t.Skip("with an MMU no leak is large enough to be told from what the kernel keeps")
	}
	killed := 0
	kill := func() {
		f := failingSteps[killed%len(failingSteps)]
		killed++
		if f.attr.UIDMap != nil {
			f.attr.UIDMap[0].Outside = os.Getuid()
		}
		path := "/x"
		if f.attr.ExecFD != nil {
			path = ""
		}
		attr := f.attr
		attr.Syscalls = killInChild(t, f.nr)
		p, err := vspawn.Start(t.Context(), path, []string{"x"}, &attr)
		switch {
		case f.want.Field == "StartStopped" && errors.Is(err, unix.ESRCH): // nobody there to go on
		case err != nil:
			t.Fatalf("to be killed in %s of %s: %v", f.want.Step, f.want.Field, err)
		default:
			wait(t, p, "signal: bad system call")
		}
	}
	for range 2 * len(failingSteps) { // what is made once
		kill()
	}
	// A leak of a page each is 2 MiB, of a program's image a gigabyte and more,
	// every time. What the kernel keeps for later use it takes once.
	for try := 1; ; try++ {
		before := helper.MemFree(t)
		for range 500 {
			kill()
		}
		time.Sleep(100 * time.Millisecond) // the kernel may still be at it
		taken := (before - helper.MemFree(t)) >> 10
		t.Logf("500 killed children took %d KiB", taken)
		if taken < 1<<10 {
			break
		}
		if try == 4 {
			t.Error("that is a leak")
			break
		}
	}
}

// killInChild are calls that make a system call kill a child from then on.
func killInChild(t *testing.T, nr uintptr) []vspawn.Syscall {
	filter := deny(nr, 0)
	filter[2].K = unix.SECCOMP_RET_KILL_PROCESS
	return filterInChild(t, filter)
}
