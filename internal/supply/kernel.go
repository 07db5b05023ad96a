package supply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/internal/host"
)

// A Kernel is a kernel image on this machine, and modules of it.
type Kernel struct {
	Path    string   `json:"-"`
	Modules []string `json:"-"` // paths, in the order of loading

	File         string   // base name
	ModuleFiles  []string `json:",omitempty"`
	Package      string   // the Debian package
	Version      string
	Suite        string
	SHA256       string   // of File
	ModuleSHA256 []string `json:",omitempty"` // of each of ModuleFiles
	Compiler     string   `json:",omitempty"` // made the kernel from the source in Package

	// Passed tells of each earlier suite why it did not serve.
	Passed []string `json:"-"`
	// Replaced is the package_version that was in the cache before.
	Replaced string `json:"-"`
}

// A Spec says what kernel is wanted, of several that would serve: a Packaged or
// a Built one.
type Spec interface {
	// Tools are what getting it needs on this machine.
	Tools() []host.Tool
	// From is the same kernel from other suites.
	From(suites []Suite) Spec

	about() about
	// entry is the place of what the suite has of it, below the store's Dir.
	entry(suite string) string
	// find looks in a suite's list.
	find(ctx context.Context, a *apt, modules []string) (found, error)
	// build makes the files from packages.
	build(ctx context.Context, j *job) error
	// check looks whether a file that is as it was will do.
	check(ctx context.Context, k Kernel) error
}

// An about is what is the same for all kinds.
type about struct {
	what    string // for people
	kind    string // what the record is called
	arch    string // whose list is asked
	tools   []host.Tool
	suites  []Suite
	modules []string
}

// A Suite is one of a Debian mirror's. It serves only if its kernel is of the
// series, such as 6.12, unless that is "".
type Suite struct{ Name, Series string }

func (s Suite) serves(version string) bool {
	rest, ok := strings.CutPrefix(version, s.Series)
	return s.Series == "" || ok && (rest == "" || strings.ContainsRune(".-+~", rune(rest[0])))
}

// Magic is a mark that tells a file format.
type Magic struct {
	Offset int64
	Bytes  string
}

// CheckMagic gives an error if a file has none of the marks: QEMU runs whatever
// it is given, in silence.
func CheckMagic(magic []Magic, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, m := range magic {
		b := make([]byte, len(m.Bytes))
		if _, err := f.ReadAt(b, m.Offset); err == nil && string(b) == m.Bytes {
			return nil
		}
	}
	return fmt.Errorf("%s is no kernel image for this machine", file)
}

// A record is what is known of an entry, and kept in it.
type record struct {
	Kernel
	Asked   []string          `json:",omitempty"` // modules that were looked for
	Reasons map[string]string `json:",omitempty"` // why other suites were passed over
}

func (s *Store) readRecord(spec Spec, suite string) (record, error) {
	var r record
	b, err := os.ReadFile(s.path(spec.entry(suite), spec.about().kind+".json"))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

// cached returns what is in the cache of a suite's, if it is whole and will do.
// It asks nobody, and writes nothing.
func (s *Store) cached(ctx context.Context, spec Spec, suite Suite) (record, error) {
	r, err := s.readRecord(spec, suite.Name)
	if err != nil {
		return r, err
	}
	if !suite.serves(r.Version) {
		return r, fmt.Errorf("version %s is not of series %s", r.Version, suite.Series)
	}
	if len(r.ModuleSHA256) != len(r.ModuleFiles) {
		return r, fmt.Errorf("a sum is missing")
	}
	for _, m := range spec.about().modules {
		if !slices.Contains(r.Asked, m) {
			return r, fmt.Errorf("module %s was not asked for", m)
		}
	}
	dir := s.path(spec.entry(suite.Name))
	if dir, err = filepath.Abs(dir); err != nil {
		return r, err
	}
	r.Path = filepath.Join(dir, r.File)
	if err := checkSum(r.Path, r.SHA256); err != nil {
		return r, err
	}
	sums := map[string]string{}
	for i, file := range r.ModuleFiles {
		sums[file] = r.ModuleSHA256[i]
	}
	// The entry may have others that another spec named, in another order.
	r.ModuleFiles, r.ModuleSHA256 = nil, nil
	for _, m := range spec.about().modules {
		file := moduleFile(m)
		sum, ok := sums[file]
		if !ok {
			continue // the kernel has no such module
		}
		if err := checkSum(filepath.Join(dir, file), sum); err != nil {
			return r, err
		}
		r.Modules = append(r.Modules, filepath.Join(dir, file))
		r.ModuleFiles = append(r.ModuleFiles, file)
		r.ModuleSHA256 = append(r.ModuleSHA256, sum)
	}
	return r, spec.check(ctx, r.Kernel)
}

// cachedAny returns the first of the suites' that is in the cache. One that is there
// for another spec, which asked for just that, does not stand in for an earlier suite
// that nobody has asked yet.
func (s *Store) cachedAny(ctx context.Context, spec Spec) (k Kernel, ok bool) {
	suites := spec.about().suites
	for i, suite := range suites {
		r, err := s.cached(ctx, spec, suite)
		if err != nil {
			continue
		}
		for _, earlier := range suites[:i] {
			reason := r.Reasons[earlier.Name]
			if reason == "" {
				return Kernel{}, false
			}
			r.Passed = append(r.Passed, earlier.Name+": "+reason)
		}
		return r.Kernel, true
	}
	return Kernel{}, false
}

// standIn records why earlier suites were passed over for what is cached of one.
// Where it can't be written, they are asked again next time.
func (s *Store) standIn(spec Spec, suite Suite, reasons map[string]string) {
	r, err := s.readRecord(spec, suite.Name)
	if err != nil || len(reasons) == 0 {
		return
	}
	if r.Reasons == nil {
		r.Reasons = map[string]string{}
	}
	maps.Copy(r.Reasons, reasons)
	r.write(s.path(spec.entry(suite.Name)), spec.about().kind)
}

// complete adds to a record what the files in dir are, and writes it there.
func (r *record) complete(dir, kind string) (err error) {
	if r.SHA256, err = fileSHA256(filepath.Join(dir, r.File)); err != nil {
		return err
	}
	r.ModuleSHA256 = nil
	for _, file := range r.ModuleFiles {
		sum, err := fileSHA256(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		r.ModuleSHA256 = append(r.ModuleSHA256, sum)
	}
	return r.write(dir, kind)
}

// write puts a record into its directory, whole or not at all: others read it.
func (r *record) write(dir, kind string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+kind+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, kind+".json"))
}

func checkSum(file, want string) error {
	sum, err := fileSHA256(file)
	if err == nil && sum != want {
		err = fmt.Errorf("%s: SHA-256 is %s, recorded was %s", file, sum, want)
	}
	return err
}

func fileSHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
