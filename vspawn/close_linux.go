package vspawn

import (
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// closeEach marks every open descriptor of a range close-on-exec, for kernels
// without CLOSE_RANGE_CLOEXEC (before 5.11), and every number that a Syscall may have
// opened: each of them takes the first free ones from one of froms on, all of them no
// more than most. A descriptor that another
// goroutine opens meanwhile is missed, unless it is close-on-exec itself, as all that
// Go opens are.
func (l *loaded) closeEach(o *op, froms []int, most int) error {
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return &Error{Step: o.name, Object: o.objectText(), Err: err,
			Hint: "needs close_range with CLOSE_RANGE_CLOEXEC (Linux 5.11) or /proc"}
	}
	var list []int
	for _, e := range dir {
		if fd, err := strconv.Atoi(e.Name()); err == nil {
			list = append(list, fd)
		}
	}
	for _, fd := range append(list, freeNumbers(list, froms, most)...) {
		if uintptr(fd) >= o.args[0].val && uintptr(fd) <= o.args[1].val {
			l.add(&op{call: sysFcntl, flags: asm.Tolerate},
				[]arg{numbered(fd), dec(unix.F_SETFD), dec(unix.FD_CLOEXEC)})
		}
	}
	return nil
}

// freeNumbers are those that are not open, most of them from each of froms on.
func freeNumbers(open, froms []int, most int) (free []int) {
	taken := map[int]bool{}
	for _, fd := range open {
		taken[fd] = true
	}
	for _, fd := range froms {
		for n := 0; n < most; fd++ {
			if !taken[fd] {
				n++
				free = append(free, fd)
			}
		}
	}
	slices.Sort(free)
	return slices.Compact(free)
}
