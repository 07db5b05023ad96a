package qemu

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// waitFor polls until ok, with time enough for any machine.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

// TestNothingIsLeft runs a guest that is killed, as that path closes most by
// itself.
func TestNothingIsLeft(t *testing.T) {
	run := func() {
		guestTest{init: "/bin/silent", limits: Limits{Idle: 2 * time.Second, Total: time.Hour}}.start(t)
	}
	run() // what is made once
	goroutines, files := runtime.NumGoroutine(), len(helper.OpenFiles())
	run()
	waitFor(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
	waitFor(t, "the files to be closed", func() bool { return len(helper.OpenFiles()) <= files })
	if pids := qemusOf(os.Getpid()); len(pids) > 0 {
		t.Errorf("QEMU is left: processes %v", pids)
	}
}

// untilKilled makes the guest of TestGuestNeverSpeaks stay.
const untilKilled = "QEMU_TEST_UNTIL_KILLED"

// TestKilledRigLeavesNoQEMU kills another rig, a test of this binary, by the
// signal that nobody can handle.
func TestKilledRigLeavesNoQEMU(t *testing.T) {
	tmp := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestGuestNeverSpeaks$")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, untilKilled+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// A QEMU that writes to its dead parent dies of that: this one must be quiet.
	waitFor(t, "the other rig's guest", func() bool {
		logs, _ := filepath.Glob(filepath.Join(tmp, "*/*/console.log"))
		for _, log := range logs {
			b, _ := os.ReadFile(log)
			return strings.Contains(string(b), "silent from now on")
		}
		return false
	})
	pids := qemusOf(cmd.Process.Pid)
	if len(pids) == 0 {
		t.Error("the other rig's QEMU is not there")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // an error, as it was killed
	for _, pid := range pids {
		waitFor(t, "QEMU to end", func() bool {
			_, err := os.Stat("/proc/" + pid)
			return err != nil
		})
	}
}

// qemusOf lists the QEMUs whose parent is ppid.
func qemusOf(ppid int) []string {
	var pids []string
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		b, _ := os.ReadFile(stat) // the process may have ended by now
		pid, rest, _ := strings.Cut(string(b), " ")
		var state string
		var parent int
		end := strings.LastIndexByte(rest, ')')
		if end < 0 || !strings.HasPrefix(rest, "(qemu-system") {
			continue
		}
		if _, err := fmt.Sscan(rest[end+1:], &state, &parent); err == nil && parent == ppid {
			pids = append(pids, pid)
		}
	}
	return pids
}
