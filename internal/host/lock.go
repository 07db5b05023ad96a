package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/usage"
)

// LockDir makes dir if need be, and holds it against other processes, and other
// callers in this one; if another has it, it calls waiting and waits.
func LockDir(ctx context.Context, dir string, waiting func()) (unlock func(), err error) {
	for first := true; ; first = false {
		unlock, err := TryLockDir(dir)
		if unlock != nil || err != nil {
			return unlock, err
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s: %w", dir, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TryLockDir is LockDir that doesn't wait: unlock is nil if another has dir.
func TryLockDir(dir string) (unlock func(), err error) {
	name := filepath.Join(dir, lockName)
	for {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			there, gone := os.Lstat(dir)
			if os.IsExist(err) && (os.IsNotExist(gone) || gone == nil && there.IsDir()) {
				continue // it was there, was removed meanwhile, and is perhaps another's now
			}
			return nil, usage.Errorf("%w", err)
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
		if os.IsNotExist(err) {
			continue // it was removed meanwhile
		}
		if err != nil {
			return nil, usage.Errorf("%w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil && isStill(f, name):
			return func() { f.Close() }, nil
		case err == nil || err == unix.EINTR:
			f.Close() // a lock on a file that is gone would hold nobody
		case err == unix.EWOULDBLOCK:
			f.Close()
			return nil, nil
		default:
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", name, err)
		}
	}
}

const lockName = ".lock"

// RemoveLock removes a directory that the caller holds, if there is nothing else
// in it. From then on another may hold a new one in its place.
func RemoveLock(dir string) {
	// Nothing but this one file: there may be another's at once.
	os.Remove(filepath.Join(dir, lockName))
	os.Remove(dir)
}

func isStill(f *os.File, name string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(name)
	return err == nil && os.SameFile(opened, there)
}
