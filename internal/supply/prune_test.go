package supply

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vspawn/vspawn/internal/host"
)

// What is no directory is nobody's, and in nobody's way.
func TestStrayFiles(t *testing.T) {
	m := newMirror(t)
	m.kernel("trixie", "amd64", "6.12.5", nil)
	m.publish()
	s := m.store()
	s.asked = map[string]bool{filepath.Join("emulators", "x", "qemu"): true}
	for _, name := range []string{"work/stray", "emulators/stray"} {
		if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.path(name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := spec("amd64", "trixie")
	mustGet(t, s, p, false)
	if _, err := s.Prune([]Spec{p}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"work/stray", "emulators/stray"} {
		if _, err := os.Stat(s.path(name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}

// An entry that can't be put into its place leaves the old one there.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	place, old := filepath.Join(dir, "place"), filepath.Join(dir, "old")
	if err := os.MkdirAll(filepath.Join(place, "kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := replace(place, filepath.Join(dir, "none"), old); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(filepath.Join(place, "kernel")); err != nil {
		t.Error(err)
	}
}

func TestPrune(t *testing.T) {
	s := Open(t.TempDir())
	keep := spec("amd64", "trixie", "forky")
	built := Built{Package: "linux-source", Arch: "riscv", Suites: []Suite{{"trixie", ""}}}
	for _, dir := range []string{
		keep.entry("trixie"), keep.entry("forky"), built.entry("trixie"),
		"kernels/amd64", "kernels/riscv64-nommu-0123456789ab", "kernels/.fetch1", // the old layout
		keep.entry("bookworm"), spec("arm64").entry("trixie"), spec("s390x").entry("sid"),
		"emulators/bookworm/qemu-a", "emulators/bookworm/qemu-b", "emulators/bullseye/qemu-a",
		"work/stale", "work/ours",
	} {
		if err := os.MkdirAll(s.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"kernels/riscv64-nommu-0123456789ab.log", built.entry("trixie") + ".log", "kernels/.lock", "emulators/bookworm/qemu-c"} {
		if err := os.WriteFile(s.path(file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{s.path("locks", spec("s390x").entry("sid")), s.path("work", "ours")} {
		unlock, err := host.TryLockDir(dir)
		if unlock == nil || err != nil {
			t.Fatal(err)
		}
		defer unlock()
	}
	check := func(want ...string) {
		t.Helper()
		got, err := s.Prune([]Spec{keep, built})
		slices.Sort(got)
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("removed %q, %v; want %q", got, err, want)
		}
		for _, name := range got {
			if _, err := os.Lstat(s.path(name)); err == nil {
				t.Errorf("%s is still there", name)
			}
		}
	}
	outside := t.TempDir()
	if err := os.MkdirAll(s.path("work/stale/entry"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, s.path("work/stale/entry", elsewhere)); err != nil {
		t.Fatal(err)
	}
	// An older version of this program is at work.
	old, err := host.TryLockDir(s.path("kernels"))
	if err != nil {
		t.Fatal(err)
	}
	check("work/stale")
	if _, err := os.Stat(outside); err == nil {
		t.Error("what a killed process had outside is still there")
	}
	old()
	check("kernels/amd64", "kernels/riscv64-nommu-0123456789ab", "kernels/.fetch1", "kernels/riscv64-nommu-0123456789ab.log",
		keep.entry("bookworm"), spec("arm64").entry("trixie"))
	s.asked = map[string]bool{"emulators/bookworm/qemu-a": true}
	check("emulators/bookworm/qemu-b", "emulators/bookworm/qemu-c", "emulators/bullseye/qemu-a")
	check()
	left := entries(t, s)
	want := []string{keep.entry("trixie"), keep.entry("forky"), built.entry("trixie"), built.entry("trixie") + ".log",
		spec("s390x").entry("sid"), "emulators/bookworm/qemu-a", "work/ours",
		"locks/" + "work/.lock", "locks/" + spec("s390x").entry("sid"), "locks/emulators/bookworm"}
	slices.Sort(left)
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}

// entries are what a store has.
func entries(t *testing.T, s *Store) (names []string) {
	t.Helper()
	for _, pattern := range []string{"kernels/*", "kernels/.*", "emulators/*/*", "work/*", "locks/*/*"} {
		found, err := filepath.Glob(s.path(pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			rel, _ := filepath.Rel(s.Dir, name)
			names = append(names, rel)
		}
	}
	return names
}

func TestPruneNothing(t *testing.T) {
	s := Open(filepath.Join(t.TempDir(), "none"))
	if removed, err := s.Prune(nil); len(removed) > 0 || err != nil {
		t.Errorf("%q, %v", removed, err)
	}
	if _, err := os.Stat(s.Dir); err == nil {
		t.Error("it made a cache")
	}
}
