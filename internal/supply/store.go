package supply

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"sync"

	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/usage"
)

// A Store is a cache of kernels and emulators, which outlives the processes that
// use it, and may be used by several at once:
//
//	kernels/<entry>/               an image, its modules, and kernel.json about them
//	kernels/<entry>.log            what make said, of one that is built
//	emulators/<release>/<entry>/   a program, and emulator.json about it
//	emulators/<release>/<entry>.none   why there was none, not long ago
//	locks/<entry>/                 who has one holds its entry
//	work/<process>/                what is not yet whole
type Store struct {
	Dir    string
	Mirror Mirror

	mu    sync.Mutex
	lists map[listKey]*list
	asked map[string]bool // emulators' entries
	work  string
	free  func() // gives work back

	uriMu sync.Mutex
	uri   string // of the mirror that this machine uses

	osRelease string // "" is the machine's
}

// Open returns the store in a directory, which need not be there.
func Open(dir string) *Store { return &Store{Dir: dir} }

// DefaultStore is the user's.
func DefaultStore() (*Store, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, usage.Errorf("no place for the cache: set XDG_CACHE_HOME or HOME")
	}
	return Open(filepath.Join(dir, "vspawn")), nil
}

// Close removes what the store needed while it fetched. Package lists are asked
// for anew after it.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists = nil
	if s.work == "" {
		return nil
	}
	err := os.RemoveAll(s.work)
	s.free()
	s.work, s.free = "", nil
	return err
}

// release is the file that says which system this is.
func (s *Store) release() string { return cmp.Or(s.osRelease, "/etc/os-release") }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}

// workDir returns this store's directory for what is not yet whole. The first
// call removes those of processes that were killed.
func (s *Store) workDir(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.work != "" {
		return s.work, nil
	}
	// One that is not locked yet would look like one that is left.
	unlock, err := host.LockDir(ctx, s.path("locks", "work"), func() {})
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := s.sweep(); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(s.path("work"), "")
	if err != nil {
		return "", usage.Errorf("cache directory: %w", err)
	}
	s.free, err = host.TryLockDir(dir)
	if err != nil {
		return "", err
	}
	s.work = dir
	return dir, nil
}

// sweep removes what is in no process's hands.
func (s *Store) sweep() (removed []string, err error) {
	if err := os.MkdirAll(s.path("work"), 0o755); err != nil {
		return nil, usage.Errorf("cache directory: %w", err)
	}
	entries, err := os.ReadDir(s.path("work"))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := filepath.Join("work", e.Name())
		if !e.IsDir() { // nobody's: a process has a directory
			if err := os.Remove(s.path(name)); err != nil {
				return removed, err
			}
			removed = append(removed, name)
			continue
		}
		unlock, err := host.TryLockDir(s.path(name))
		if err != nil {
			return removed, err
		}
		if unlock == nil {
			continue
		}
		links, _ := filepath.Glob(filepath.Join(s.path(name), "*", elsewhere))
		for _, link := range links {
			if dir, err := os.Readlink(link); err == nil {
				os.RemoveAll(dir)
			}
		}
		err = os.RemoveAll(s.path(name))
		unlock()
		if err != nil {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}
