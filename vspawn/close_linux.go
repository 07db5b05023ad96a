package vspawn

import (
	"errors"
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
// Go opens are. In the child an error is no more than that, since on an open descriptor
// the call has none but a sandbox's: which is tried here.
func (l *loaded) closeEach(o *op, froms []int, most int) error {
	fail := func(step string, err error) error {
		return &Error{Step: step, Object: o.objectText(), Err: err,
			Hint: "needs close_range with CLOSE_RANGE_CLOEXEC (Linux 5.11), or /proc and fcntl"}
	}
	fd, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(o.name, err)
	}
	dir := os.NewFile(uintptr(fd), "/proc/self/fd")
	defer dir.Close()
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return fail("fcntl", err)
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fail(o.name, errors.Unwrap(err))
	}
	var list []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n != fd {
			list = append(list, n)
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
