//go:build linux

package tests

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// What the caller's own system calls open before Files is none of the child's table,
// close-on-exec or not, wherever it is. On a kernel without CLOSE_RANGE_CLOEXEC the parent
// has to know the numbers.
func TestOpenedBySyscalls(t *testing.T) {
	var fds [2]int32
	own := func(name string, nr uintptr, args ...uintptr) vspawn.Syscall {
		s := vspawn.Syscall{Before: "Umask", Name: name, Nr: nr}
		copy(s.Args[:], args)
		return s
	}
	calls := []vspawn.Syscall{
		own("dup", unix.SYS_DUP, 2), own("dup", unix.SYS_DUP, 2), own("dup3", unix.SYS_DUP3, 2, 700), own("fcntl", unix.SYS_FCNTL, 2, unix.F_DUPFD, 700),
		own("fcntl", unix.SYS_FCNTL, 2, unix.F_DUPFD, 30), own("pipe2", unix.SYS_PIPE2, pin(t, &fds)), own("pipe2", unix.SYS_PIPE2, pin(t, &fds)),
		own("epoll_create1", unix.SYS_EPOLL_CREATE1), own("close", unix.SYS_CLOSE, 2), own("dup", unix.SYS_DUP, 1),
	}
	want := map[int]inode{0: inodeOf(0), 1: inodeOf(1), 2: inodeOf(1)}
	equal(t, "descriptors", report(t, &vspawn.Attr{Syscalls: calls}).Files, want)

	others := []vspawn.Range{{First: 3, NoEnd: true}}
	attr := &vspawn.Attr{InheritFiles: true, CloseRanges: others, Syscalls: calls}
	equal(t, "descriptors", report(t, attr).Files, want)
}
