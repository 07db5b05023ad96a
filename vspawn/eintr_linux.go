package vspawn

import "golang.org/x/sys/unix"

// ignoringEINTR repeats a system call that a signal has interrupted. Go's handlers
// have SA_RESTART; but not all calls heed it, such as poll, and C code in the process
// may have handlers without (signal(7)).
func ignoringEINTR(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
