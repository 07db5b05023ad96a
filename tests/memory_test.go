//go:build linux

package tests

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// countByVfork has a child that raises *counter, then exits with status 5.
//
//go:nosplit
//go:norace
func countByVfork(counter *uintptr) uintptr {
	pid := asm.Vfork()
	if pid != 0 {
		return pid
	}
	*counter++
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 5, 0, 0)
	}
}

// countByFork is the same without CLONE_VM.
//
//go:nosplit
//go:norace
func countByFork(counter *uintptr) uintptr {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return -uintptr(errno)
	}
	if pid != 0 {
		return pid
	}
	*counter++
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 5, 0, 0)
	}
}

// A counter raised by the child is seen by the parent under vfork, and not
// under a clone without CLONE_VM.
func TestVforkSharesMemory(t *testing.T) {
	count := func(t *testing.T, child func(*uintptr) uintptr, want uintptr) {
		counter := uintptr(40)
		var pid int
		withoutSignals(func() { pid = int(child(&counter)) })
		if pid < 0 {
			t.Fatal(unix.Errno(-pid))
		}
		ws, err := asmtest.Wait(pid)
		if err != nil {
			t.Fatal(err)
		}
		asmtest.CheckExit(t, ws, 5)
		if counter != want {
			t.Errorf("the parent's counter is %d, want %d", counter, want)
		}
	}
	t.Run("vfork", func(t *testing.T) {
		helper.SkipEmulated(t, "memory shared by vfork")
		count(t, countByVfork, 41)
	})
	t.Run("fork", func(t *testing.T) {
		helper.SkipNoMMU(t, "a clone without CLONE_VM shares memory all the same, and this child returns on its parent's stack")
		count(t, countByFork, 40)
	})
}

// What a step of Spawn's child stores is seen by the parent under vfork, and
// not under a clone without CLONE_VM. Without an MMU the kernel takes such a clone,
// and shares the memory all the same: this child can't do harm there, as it uses
// no stack.
func TestSpawnSharesMemory(t *testing.T) {
	store := func(t *testing.T, create asmtest.Create, shared bool) {
		p := asmtest.New(create, asm.Step{Nr: unix.SYS_GETPPID}, asmtest.Exit(5))
		p.List[0].Out = asmtest.Addr(&p.Words[0])
		_, ws, err := p.Run()
		if err != nil {
			t.Fatal(err)
		}
		asmtest.CheckExit(t, ws, 5)
		word, entered := uintptr(0), uintptr(0)
		if shared {
			word, entered = uintptr(os.Getpid()), 1
		}
		if p.Words[0] != word || p.Entered != entered {
			t.Errorf("the child stored %d, Entered %d; want %d, %d", p.Words[0], p.Entered, word, entered)
		}
	}
	asmtest.EachClone(t, func(t *testing.T, create asmtest.Create) {
		helper.SkipEmulated(t, "memory shared by vfork")
		store(t, create, true)
	})
	t.Run("fork", func(t *testing.T) {
		store(t, func(p *asmtest.Program) {
			p.Create = asm.Step{Nr: unix.SYS_CLONE, Args: [6]uintptr{uintptr(unix.SIGCHLD)}}
		}, !helper.MMU())
	})
}
