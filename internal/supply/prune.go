package supply

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vspawn/vspawn/internal/host"
)

// Prune removes what none of the specs uses any more: kernels, emulators of
// another release of Debian, of this one those that this store was not asked for
// (if it was for any), what older versions of this package kept otherwise, and
// what killed processes left. What another process holds stays. It returns the
// names of what it removed, below Dir.
func (s *Store) Prune(keep []Spec) (removed []string, err error) {
	kept := map[string]bool{}
	for _, spec := range keep {
		for _, suite := range spec.about().suites {
			entry := spec.entry(suite.Name)
			kept[entry], kept[entry+".log"] = true, true
		}
	}
	kernels, err := s.pruneDir("kernels", func(entry string) bool { return kept[entry] })
	removed = append(removed, kernels...)
	emulators, err2 := s.pruneEmulators()
	removed = append(removed, emulators...)
	swept, err3 := s.sweepUnused()
	return append(removed, swept...), errors.Join(err, err2, err3)
}

func (s *Store) pruneEmulators() (removed []string, err error) {
	s.mu.Lock()
	asked := s.asked
	s.mu.Unlock()
	releases := map[string]bool{}
	for entry := range asked {
		releases[filepath.Dir(entry)] = true
	}
	if len(releases) == 0 {
		return nil, nil // nobody asked what this machine's release is
	}
	entries, err := os.ReadDir(s.path("emulators"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		release := filepath.Join("emulators", e.Name())
		if !e.IsDir() {
			err = errors.Join(err, os.Remove(s.path(release)))
			removed = append(removed, release)
			continue
		}
		more, err2 := s.pruneDir(release, func(entry string) bool { return asked[strings.TrimSuffix(entry, noneNote)] })
		removed, err = append(removed, more...), errors.Join(err, err2)
		if !releases[release] {
			os.Remove(s.path(release)) // unless something in it is held
			os.Remove(s.path("locks", release))
		}
	}
	return removed, err
}

// pruneDir removes what is in a directory, but for what is to be kept, or held.
func (s *Store) pruneDir(dir string, keep func(entry string) bool) (removed []string, err error) {
	entries, err := os.ReadDir(s.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// Older versions held the whole directory by such a file.
	const oldLock = ".lock"
	if _, err := os.Stat(s.path(dir, oldLock)); err == nil {
		unlock, err := host.TryLockDir(s.path(dir))
		if unlock == nil {
			return nil, err
		}
		defer unlock()
	}
	for _, e := range entries {
		entry := filepath.Join(dir, e.Name())
		if keep(entry) && e.IsDir() || keep(entry) && (strings.HasSuffix(entry, ".log") || strings.HasSuffix(entry, noneNote)) {
			continue
		}
		gone, err := s.remove(entry)
		if err != nil {
			return removed, err
		}
		if gone && e.Name() != oldLock {
			removed = append(removed, entry)
		}
	}
	return removed, nil
}

// remove removes an entry, and its lock, unless someone holds it.
func (s *Store) remove(entry string) (gone bool, err error) {
	lock := s.path("locks", strings.TrimSuffix(entry, ".log"))
	unlock, err := host.TryLockDir(lock)
	if unlock == nil {
		return false, err
	}
	defer unlock()
	err = os.RemoveAll(s.path(entry))
	host.RemoveLock(lock)
	return true, err
}

// sweepUnused is sweep, with the lock that it needs.
func (s *Store) sweepUnused() (removed []string, err error) {
	if _, err := os.Stat(s.path("work")); err != nil {
		return nil, nil
	}
	unlock, err := host.TryLockDir(s.path("locks", "work"))
	if unlock == nil {
		return nil, err
	}
	defer unlock()
	return s.sweep()
}
