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

// The child of Spawn needs no stack: with its stack pointer at the end of a
// page that it may not touch it still execs, and still reports a failing step.
func TestSpawnNeedsNoStack(t *testing.T) {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page)
	asmtest.EachClone(t, func(t *testing.T, create asmtest.Create) {
		onPage := func(p *asmtest.Program) {
			create(p)
			lowest, size := asmtest.Addr(&page[0]), uintptr(len(page))
			if p.Create.Nr == unix.SYS_CLONE {
				p.Create.Args[1] = lowest + size
			} else {
				p.Clone.Stack, p.Clone.StackSize = uint64(lowest), uint64(size)
			}
		}
		t.Run("exec", func(t *testing.T) {
			p := asmtest.New(onPage, asm.Step{Nr: unix.SYS_GETPID}, asm.Step{})
			p.List[1] = p.Execve(exits(t, 7))
			_, ws, err := p.Run()
			if err != nil {
				t.Fatal(err)
			}
			asmtest.CheckExit(t, ws, 7)
		})
		t.Run("failure", func(t *testing.T) {
			p := asmtest.New(onPage, asm.Step{Nr: unix.SYS_GETPID}, asm.Step{Nr: asm.Ignore}, asmtest.Exit(0))
			_, ws, err := p.Run()
			if err != nil {
				t.Fatal(err)
			}
			asmtest.CheckExit(t, ws, 127)
			helper.SkipEmulated(t, "memory shared by vfork")
			if p.Failed != asmtest.Addr(&p.List[1]) || p.Result != asmtest.Errno(unix.ENOSYS) {
				t.Errorf("Failed = %#x, Result = %d; want step 1 at %#x, ENOSYS", p.Failed, int(p.Result), asmtest.Addr(&p.List[1]))
			}
		})
	})
}
