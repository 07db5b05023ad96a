//go:build linux

package vspawn

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A childFinder finds our children. It allocates nothing, since before Linux 5.16 it
// is at work behind each start (see restoreBeside).
type childFinder struct {
	entries [2048]byte // of /proc/self/task
	path    [64]byte
	text    [1024]byte
}

// children calls yield with the children of each of our threads, until it has enough.
// Without /proc there are none to be found.
func (f *childFinder) children(yield func(pid int) bool) {
	task, err := unix.Open("/proc/self/task", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(task)
	for {
		n, err := unix.Getdents(task, f.entries[:])
		if err != nil || n <= 0 {
			return
		}
		for rest := f.entries[:n]; len(rest) > 0; {
			// struct linux_dirent64: inode, offset, length of the entry, type, name
			const length, name = 16, 19
			size := native.Uint16(rest[length:])
			thread, _, _ := bytes.Cut(rest[name:size], []byte{0})
			rest = rest[size:]
			if thread[0] != '.' && !f.ofThread(task, thread, yield) {
				return
			}
		}
	}
}

// ofThread does so with one thread's: proc_pid_task_tid_children(5).
func (f *childFinder) ofThread(task int, thread []byte, yield func(pid int) bool) bool {
	path := append(append(f.path[:0], thread...), "/children\x00"...)
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(task), uintptr(unsafe.Pointer(&path[0])),
		unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return true // it has ended
	}
	defer unix.Close(int(fd))
	for pid := 0; ; {
		n, err := unix.Read(int(fd), f.text[:])
		if err != nil || n <= 0 {
			return true
		}
		for _, b := range f.text[:n] {
			switch {
			case '0' <= b && b <= '9':
				pid = 10*pid + int(b-'0')
			case pid != 0:
				if !yield(pid) {
					return false
				}
				pid = 0
			}
		}
	}
}
