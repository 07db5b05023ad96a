//go:build linux

package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// Whichever allocation of the kernel's fails in a start, the parent's or the child's,
// there is an error that says what failed, or the child ends as one does that the kernel
// has no memory for, or all is as it should be. The next start is whole again, and
// nothing is left.
//
// The kernel counts a thread's allocations down to the one that fails, where it is made
// for that (Documentation/fault-injection/fault-injection.rst, fail-nth).
func TestStarved(t *testing.T) {
	starvedHelper.Argv() // also where this is skipped
	once(t)
	if _, err := os.Stat("/proc/thread-self/fail-nth"); err != nil {
		t.Skip("this kernel's allocations can't be made to fail (CONFIG_FAULT_INJECTION): 6.12-faults has that")
	}
	needCapability(t, unix.CAP_SYS_ADMIN, "set up fault injection")
	failAnyAllocation(t)
	for _, sc := range faultScenarios {
		t.Run(sc.name, func(t *testing.T) {
			setting := faultSetting{Scenario: sc.name, Argv: tiny.Argv(t), Dir: realTemp(t)}
			if sc.setUp != nil {
				sc.setUp(t, &setting)
			}
			for _, who := range []string{"parent", "child"} {
				t.Run(who, func(t *testing.T) { starve(t, &setting, who) })
			}
		})
	}
}

// starve has a process of its own go through all the allocations.
func starve(t *testing.T, setting *faultSetting, who string) {
	t.Helper()
	text, err := json.Marshal(setting)
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd := starvedHelper.Command(string(text), who)
	cmd.ExtraFiles = append([]*os.File{null}, setting.files...) // the first has the place of faultConn
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1,updatemaxprocs=0", "GOTRACEBACK=all")
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%v: %s", err, out)
		return
	}
	var counts starvedCounts
	if err := json.Unmarshal(out, &counts); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, w := range counts.Wrong {
		t.Error(w)
	}
	t.Log(counts.String())
	if counts.Failed == 0 {
		t.Error("no allocation failed")
	}
}

// failAnyAllocation has the faults hit those too that could wait for memory, of single
// pages as well. They hit nobody who has not asked for it.
func failAnyAllocation(t *testing.T) {
	t.Helper()
	const dir = "/sys/kernel/debug"
	if _, err := os.Stat(filepath.Join(dir, "failslab")); err != nil {
		if err := unix.Mount("debugfs", dir, "debugfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(dir, 0) })
	}
	for _, setting := range []struct{ name, value string }{
		{"failslab/ignore-gfp-wait", "N"},
		{"failslab/verbose", "0"},
		{"fail_page_alloc/ignore-gfp-wait", "N"},
		{"fail_page_alloc/ignore-gfp-highmem", "N"},
		{"fail_page_alloc/min-order", "0"},
		{"fail_page_alloc/verbose", "0"},
	} {
		file := filepath.Join(dir, setting.name)
		was, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, []byte(setting.value), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.WriteFile(file, was, 0) })
	}
}

// starvedCounts is what came of the starts.
type starvedCounts struct {
	Starts int
	Failed int            // allocations
	Errors map[string]int // of starts, by step and errno
	Ends   map[string]int // of children that were started all the same
	Wrong  []string
}

func (c *starvedCounts) String() string {
	return fmt.Sprintf("%d starts, %d failed allocations: errors %v, ends %v", c.Starts, c.Failed, c.Errors, c.Ends)
}

func (c *starvedCounts) wrong(n int, format string, args ...any) {
	const most = 20
	if len(c.Wrong) < most {
		c.Wrong = append(c.Wrong, fmt.Sprintf("allocation %d: ", n)+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

// watch ends the process, with its stacks, where one start takes a minute.
func (s *starved) watch() {
	for last := int64(-1); s.starts.Load() != last; time.Sleep(time.Minute) {
		last = s.starts.Load()
	}
	stacks := make([]byte, 1<<20)
	fmt.Fprintf(os.Stderr, "a start hangs: %v\n%s", &s.counts, stacks[:runtime.Stack(stacks, true)])
	for _, child := range childrenOf(os.Getpid()) {
		pid := strconv.Itoa(child)
		fmt.Fprintln(os.Stderr, pid, statusField(pid, "State"), "traced by", statusField(pid, "TracerPid"), words("/proc/"+pid+"/syscall"))
	}
	os.Exit(3)
}
