//go:build linux

package tests

import (
	"fmt"
	"os"
	"path/filepath"
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
func children(t *testing.T, pid int) []int {
	t.Helper()
	pids, err := childrenByStat(pid)
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

func childrenByStat(pid int) (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err == nil && stat(e.Name()).ppid == pid {
			pids = append(pids, child)
		}
	}
	return pids, err
}

// childrenOf are the same, sooner, but for those that come or go meanwhile.
func childrenOf(pid int) (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if len(lists) == 0 { // without CONFIG_PROC_CHILDREN
		pids, _ = childrenByStat(pid)
	}
	for _, list := range lists {
		for _, word := range strings.Fields(text(list)) {
			child, _ := strconv.Atoi(word)
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
