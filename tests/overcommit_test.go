//go:build linux

package tests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// Where the kernel promises no more memory than there is, a start takes none: a parent
// that has all of it still starts children, while one that forks has to leave room for
// itself again (Documentation/mm/overcommit-accounting.rst).
func TestOvercommit(t *testing.T) {
	hoarder.Argv() // also where this is skipped
	once(t)
	helper.SkipEmulated(t, "memory of the program's own")
	switch {
	case !helper.MMU():
		t.Skip("no MMU: nothing is promised that there is not")
	case os.Getenv("VSPAWN_TARGET") == "":
		t.Skip("the machine is not ours alone")
	}
	needCapability(t, unix.CAP_SYS_ADMIN, "set vm.overcommit_memory")
	setSysctl(t, "vm/overcommit_ratio", "100") // before there is a limit
	setSysctl(t, "vm/overcommit_memory", "2")
	largest := map[string]int{}
	for _, way := range []string{"vspawn", "os/exec", "fork"} {
		out, err := hoarder.Command(way, tiny.Exit(t, 5)).Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", way, err, out)
		}
		if largest[way], err = strconv.Atoi(string(out)); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("the largest parent that starts a child, in MiB: ", largest)
	if largest["fork"] == 0 {
		t.Error("there is too little memory to tell")
	}
	if largest["vspawn"] < largest["os/exec"]-2*hoardStep {
		t.Error("a parent that starts by os/exec may be larger")
	}
	if largest["fork"] > largest["vspawn"]*3/4 {
		t.Error("a fork takes no memory, either")
	}
}

// setSysctl sets a number of sysctl(8)'s until the end of the test.
func setSysctl(t *testing.T, name, value string) {
	t.Helper()
	file := "/proc/sys/" + name
	was, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(value), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(file, was, 0); err != nil {
			t.Error(err)
		}
	})
}

// A hoarder takes so many MiB at a time, and leaves as much for all other processes: who
// gets none at its end may not be able to say so.
const (
	hoardStep = 4
	hoardRest = 48
)

// hoarder takes memory, and starts a child, until one of both fails. It prints how much it
// has had at the last start.
var hoarder = helper.New("hoarder", func(args []string) int {
	ways := map[string]func(path string) error{"vspawn": smallByVspawn, "os/exec": smallByOSExec, "fork": smallByFork}
	start := ways[args[0]]
	largest := 0
	for had := hoardStep; ; had += hoardStep {
		if left, err := memoryLeft(); err != nil {
			return hoarderFails(err)
		} else if left < hoardRest {
			break
		}
		const mine = unix.MAP_PRIVATE | unix.MAP_ANON
		if _, err := unix.Mmap(-1, 0, hoardStep<<20, unix.PROT_READ|unix.PROT_WRITE, mine); err != nil {
			return hoarderFails(err)
		}
		if err := start(args[1]); err == unix.ENOMEM {
			break
		} else if err != nil {
			return hoarderFails(err)
		}
		largest = had
	}
	fmt.Print(largest)
	return 0
})

func hoarderFails(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// memoryLeft is how many MiB may still be promised: proc_meminfo(5).
func memoryLeft() (int, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	kib := func(field string) int {
		n, _ := strconv.Atoi(strings.TrimSuffix(fieldOf(string(b), field), " kB"))
		return n
	}
	limit := kib("CommitLimit")
	if limit == 0 {
		return 0, fmt.Errorf("there is no CommitLimit: %s", b)
	}
	return (limit - kib("Committed_AS")) >> 10, nil
}

// These have a program run that ends with status 5.
func smallByVspawn(path string) error {
	p, err := vspawn.Start(context.Background(), path, nil, nil)
	if err != nil {
		return err
	}
	s, err := p.Wait(context.Background())
	if err == nil && s.ExitCode() != 5 {
		err = fmt.Errorf("it ended by %v", s)
	}
	return err
}

func smallByOSExec(path string) error {
	cmd := exec.Command(path)
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 5 {
		return fmt.Errorf("it ended by %v, %w", cmd.ProcessState, err)
	}
	return nil
}

func smallByFork(string) error {
	counter := uintptr(0)
	var pid int
	withoutSignals(func() { pid = int(countByFork(&counter)) })
	if pid < 0 {
		return unix.Errno(-pid)
	}
	_, err := asmtest.Wait(pid)
	return err
}
