package supply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/usage"
)

// A found is what a suite has.
type found struct {
	pkg, version string
	debs         []deb
	compiler     string
}

// A deb is a package to be fetched. Its arch is "" if it is the same for all.
type deb struct{ name, arch string }

// A job makes an entry, in a directory of its own.
type job struct {
	dir     string
	debs    []string // paths
	modules []string // to look for, if the packages have them
	log     string   // path, for what is said while it is made
	report  reporter
	record  *record // what is made: File, ModuleFiles
}

// Get returns the kernel that spec asks for. What is in the cache is used without
// asking anyone, and the first of the suites serves that can be had otherwise. If
// fresh is set, the suites are asked what is newer; the cached kernel stays if
// they can't be. What takes time is reported, and what is passed over.
//
// What the user can mend is a usage.Error.
func (s *Store) Get(ctx context.Context, spec Spec, fresh bool, report func(phase, detail string)) (Kernel, error) {
	if !fresh {
		if k, ok := s.cachedAny(ctx, spec); ok {
			return k, nil
		}
	}
	k, err := s.ask(ctx, spec, fresh, report)
	if err == nil {
		return k, nil
	}
	if ctx.Err() != nil {
		return Kernel{}, ctx.Err()
	}
	var failed *buildError
	if fresh && !errors.As(err, &failed) {
		if k, ok := s.cachedAny(ctx, spec); ok {
			report(fmt.Sprintf("keeping %s of %s: %v", k.Version, k.Suite, err), "")
			return k, nil
		}
	}
	return Kernel{}, err
}

// ask goes through the suites.
func (s *Store) ask(ctx context.Context, spec Spec, fresh bool, report reporter) (Kernel, error) {
	about := spec.about()
	if err := host.CheckTools(about.tools); err != nil {
		return Kernel{}, err
	}
	var passed []string
	hint := "no suite of the mirror's has it"
	reasons := map[string]string{}
	for i, suite := range about.suites {
		k, err := s.from(ctx, spec, suite, fresh, reasons, report)
		if err == nil {
			k.Passed = passed
			return k, nil
		}
		var u *unserved
		if ctx.Err() != nil || !errors.As(err, &u) {
			return Kernel{}, err
		}
		if fresh && !u.final {
			// What it has is not older than what the next has of it.
			if r, err := s.cached(ctx, spec, suite); err == nil {
				report(fmt.Sprintf("keeping %s of %s: %s", r.Version, suite.Name, u.reason), "")
				r.Passed = passed
				return r.Kernel, nil
			}
		}
		if !u.final {
			hint = "see whether there is a network, or try again later"
		}
		reasons[suite.Name] = u.reason
		passed = append(passed, suite.Name+": "+u.reason)
		if i+1 < len(about.suites) {
			report(fmt.Sprintf("%s: %s; asking %s", suite.Name, u.reason, about.suites[i+1].Name), "")
		}
	}
	return Kernel{}, &usage.Error{Err: &NotServed{fmt.Sprintf("no %s: %s: %s", about.what, strings.Join(passed, "; "), hint)}}
}

// NotServed says that all suites were asked, and none has what is wanted, or could
// say so: nothing is amiss on this machine but perhaps its network.
type NotServed struct{ text string }

// Error implements error.
func (n *NotServed) Error() string { return n.text }

// from returns what one suite has, and puts it into the cache, whole or not at all.
func (s *Store) from(ctx context.Context, spec Spec, suite Suite, fresh bool, reasons map[string]string,
	report reporter) (Kernel, error) {
	about, entry := spec.about(), spec.entry(suite.Name)
	unlock, err := host.LockDir(ctx, s.path("locks", entry), func() {
		report(fmt.Sprintf("waiting for another run to have its %s of %s", about.kind, suite.Name), "")
	})
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	old, oldErr := s.cached(ctx, spec, suite)
	if oldErr == nil && !fresh {
		s.standIn(spec, suite, reasons)
		return old.Kernel, nil // another run had it fetched, or another spec
	}
	a, err := s.list(ctx, suite.Name, about.arch, report)
	if err != nil {
		return Kernel{}, err
	}
	// Those that another spec asked for stay, or the two would replace each
	// other's. The record may be there without the entry being whole.
	known, _ := s.readRecord(spec, suite.Name)
	modules := union(about.modules, known.Asked)
	f, err := spec.find(ctx, a, modules)
	if err != nil {
		return Kernel{}, err
	}
	if !suite.serves(f.version) {
		return Kernel{}, &unserved{fmt.Sprintf("it has %s, not %s", f.version, suite.Series), true}
	}
	if oldErr == nil && !newer(ctx, f, old.Kernel) {
		return old.Kernel, nil
	}
	work, err := s.workDir(ctx)
	if err != nil {
		return Kernel{}, err
	}
	dir, err := os.MkdirTemp(work, "entry")
	if err != nil {
		return Kernel{}, err
	}
	defer os.RemoveAll(dir)
	r := record{Reasons: maps.Clone(reasons), Asked: modules}
	r.Package, r.Version, r.Suite, r.Compiler = f.pkg, f.version, suite.Name, f.compiler
	place := s.path(entry)
	j := &job{dir: filepath.Join(dir, "made"), modules: modules, log: place + ".log", report: report, record: &r}
	if err := os.Mkdir(j.dir, 0o755); err != nil {
		return Kernel{}, err
	}
	if j.debs, err = a.fetchAll(ctx, dir, f.debs, suite, report); err != nil {
		return Kernel{}, err
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return Kernel{}, usage.Errorf("cache directory: %w", err)
	}
	if err := spec.build(ctx, j); err != nil {
		return Kernel{}, err
	}
	if err := r.complete(j.dir, about.kind); err != nil {
		return Kernel{}, err
	}
	made := r.Kernel
	made.Path = filepath.Join(j.dir, r.File)
	if err := spec.check(ctx, made); err != nil {
		return Kernel{}, &unserved{fmt.Sprintf("%s is not what is wanted: %v", f.pkg, err), true}
	}
	if err := replace(place, j.dir, filepath.Join(dir, "old")); err != nil {
		return Kernel{}, err
	}
	got, err := s.cached(ctx, spec, suite)
	if err != nil {
		return Kernel{}, err
	}
	if before := known.Package + "_" + known.Version; fresh && known.Package != "" && before != f.pkg+"_"+f.version {
		got.Replaced = before
	}
	return got.Kernel, nil
}

// union is what is in one of the lists, in their order.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// fetchAll downloads packages of a suite, each into a new directory below dir.
func (a *apt) fetchAll(ctx context.Context, dir string, debs []deb, suite Suite, report reporter) ([]string, error) {
	var files []string
	for _, d := range debs {
		report(fmt.Sprintf("fetching %s of %s", d.name, suite.Name), "")
		file, err := a.fetch(ctx, dir, d, report)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// fetch downloads a package, into a new directory below dir.
func (a *apt) fetch(ctx context.Context, dir string, d deb, report reporter) (file string, err error) {
	err = a.retry(ctx, d.name, report, func() error {
		into, err := os.MkdirTemp(dir, "deb") // what a try left is of no use to the next
		if err == nil {
			file, err = a.download(ctx, into, d.name, d.arch)
		}
		return err
	})
	return file, err
}

// newer tells whether what a suite has should replace what is in the cache. A
// mirror may also have gone back.
func newer(ctx context.Context, f found, old Kernel) bool {
	if f.pkg == old.Package && f.version == old.Version {
		return false
	}
	return exec.CommandContext(ctx, "dpkg", "--compare-versions", f.version, "lt", old.Version).Run() != nil
}

// replace puts a directory in another's place, which goes to old. Others read
// without a lock: they find one of the two, or for a moment none, and then
// come for the lock.
func replace(place, made, old string) error {
	if err := os.Rename(place, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err := os.Rename(made, place)
	if err != nil {
		os.Rename(old, place) // better the old one than none; an error if there is none
	}
	return err
}
