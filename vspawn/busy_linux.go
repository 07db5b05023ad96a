package vspawn

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// path is the program's, or "" if it has none.
func (p *Plan) path() string {
	if p.command != nil {
		return p.command.path
	}
	path, _ := p.ops[len(p.ops)-1].object.(string)
	return path
}

// heldByChild tells whether a child of ours has the file open for writing, by a
// descriptor that it closes when it execs. It finds none where the kernel does
// not list children (CONFIG_PROC_CHILDREN), and no file in another root.
func heldByChild(path string) bool {
	var file unix.Stat_t
	if unix.Stat(path, &file) != nil {
		return false
	}
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, l := range lists {
		pids, _ := os.ReadFile(l)
		for _, pid := range strings.Fields(string(pids)) {
			if holds("/proc/"+pid, &file) {
				return true
			}
		}
	}
	return false
}

func holds(proc string, file *unix.Stat_t) bool {
	entries, _ := os.ReadDir(proc + "/fd")
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Stat(proc+"/fd/"+e.Name(), &st) != nil || st.Dev != file.Dev || st.Ino != file.Ino {
			continue
		}
		var pos, flags int
		info, _ := os.ReadFile(proc + "/fdinfo/" + e.Name())
		fmt.Sscanf(string(info), "pos: %d\nflags: %o", &pos, &flags)
		if flags&unix.O_ACCMODE != unix.O_RDONLY && flags&unix.O_CLOEXEC != 0 {
			return true
		}
	}
	return false
}
