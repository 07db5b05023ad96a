//go:build linux

package tests

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// A procStat is a part of /proc/PID/stat.
type procStat struct {
	state              string // "" for a process that is not there
	ppid, pgid, sid    int
	tty, ttyForeground int
}

// stat reads /proc/ID/stat, where id is a pid, or "self/task/" and a tid.
func stat(id string) (s procStat) {
	line := text("/proc/" + id + "/stat")
	// The command's name, in parentheses, may have any character.
	f := strings.Fields(line[strings.LastIndex(line, ")")+1:])
	if len(f) < 6 {
		return s
	}
	s.state = f[0]
	for i, to := range []*int{&s.ppid, &s.pgid, &s.sid, &s.tty, &s.ttyForeground} {
		*to, _ = strconv.Atoi(f[i+1])
	}
	return s
}

// children are the processes whose parent is pid, as /proc tells.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err == nil && stat(e.Name()).ppid == pid {
			pids = append(pids, child)
		}
	}
	return pids
}

// allAsleep tells whether all of them wait for something, or are dead.
func allAsleep(pids []int) bool {
	for _, pid := range pids {
		if s := stat(strconv.Itoa(pid)).state; s != "S" && s != "Z" {
			return false
		}
	}
	return true
}
