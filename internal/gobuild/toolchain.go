// Package gobuild compiles Go programs and tests for guests.
package gobuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/nommu"
)

// A Toolchain says for whom Go code is compiled, and where from. Its fields are
// those of initramfs.Toolchain, where they are explained.
type Toolchain struct {
	GOARCH   string
	NoMMU    bool
	MaxOrder int
	Dir      string
	CacheDir string
	Progress func(string)
}

// Binary is a static executable for a guest.
type Binary struct {
	Package string // import path
	Dir     string // of the package's source
	Path    string // on the host
	// TestFiles are the files that the tests of a test binary are in.
	TestFiles []string
}

// Programs compiles main packages, given by import path or by a pattern relative
// to Dir.
func (t *Toolchain) Programs(ctx context.Context, packages ...string) ([]Binary, error) {
	pkgs, err := t.List(ctx, packages)
	if err != nil {
		return nil, err
	}
	var bins []Binary
	for _, p := range pkgs {
		if p.Name != "main" {
			return nil, usage.Errorf("%s is no program: it is package %s", p.ImportPath, p.Name)
		}
		bins = append(bins, Binary{Package: p.ImportPath, Dir: p.Dir, Path: p.base()})
	}
	return t.compile(ctx, bins, t.Machine(), Flags, "build")
}

// Tests compiles the test binaries of packages. With noInline, nothing is inlined
// into the functions of the module, or of the workspace's modules; the standard library is compiled as ever,
// since users have no other.
func (t *Toolchain) Tests(ctx context.Context, noInline bool, packages ...string) ([]Binary, error) {
	return t.tests(ctx, noInline, Flags, "", packages)
}

// TestsForDebugger is Tests whose binaries have the symbols that a debugger wants.
// Otherwise they are the same, instruction by instruction.
func (t *Toolchain) TestsForDebugger(ctx context.Context, noInline bool, packages ...string) ([]Binary, error) {
	return t.tests(ctx, noInline, reproducible, "-symbols", packages)
}

func (t *Toolchain) tests(ctx context.Context, noInline bool, flags []string, kind string,
	packages []string) ([]Binary, error) {
	pkgs, err := t.List(ctx, packages)
	if err != nil {
		return nil, err
	}
	var bins []Binary
	for _, p := range pkgs {
		if len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 {
			b := Binary{Package: p.ImportPath, Dir: p.Dir, Path: p.base() + ".test"}
			for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
				b.TestFiles = append(b.TestFiles, filepath.Join(p.Dir, name))
			}
			bins = append(bins, b)
		}
	}
	if len(bins) == 0 {
		return nil, usage.Errorf("no test files for linux/%s in %s", t.GOARCH, strings.Join(packages, " "))
	}
	if !noInline {
		return t.compile(ctx, bins, t.Machine()+kind, flags, "test", "-c")
	}
	command := []string{"test", "-c"}
	modules, err := t.modules(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		command = append(command, "-gcflags="+m+"/...=-l")
	}
	return t.compile(ctx, bins, t.Machine()+"-noinline"+kind, flags, command...)
}

// Machine names the kind of machine that programs are for.
func (t *Toolchain) Machine() string {
	if t.NoMMU {
		return fmt.Sprintf("%s-nommu%d", t.GOARCH, t.MaxOrder)
	}
	return t.GOARCH
}

// Compiler names the machine, and with what programs for it are made beside the
// go command: it is for the keys of caches.
func (t *Toolchain) Compiler() string {
	if t.NoMMU {
		return t.Machine() + " " + nommu.Version()
	}
	return t.Machine()
}

// compile runs one go command for all of bins, whose Path is a file name at
// first, and leaves them in the directory called variant. The go command sees for
// itself which of them are up to date.
func (t *Toolchain) compile(ctx context.Context, bins []Binary, variant string, flags []string,
	command ...string) ([]Binary, error) {
	dir, err := t.Cache("bin", variant)
	if err != nil {
		return nil, usage.Errorf("%w", err)
	}
	t.Tell("compiling %d packages for %s", len(bins), variant)
	args := append(command, flags...)
	args = append(args, "-o", dir+string(filepath.Separator))
	names := map[string]string{}
	for i, b := range bins {
		// Of two programs with one name, go build would keep the last.
		if other, dup := names[b.Path]; dup {
			return nil, usage.Errorf("%s and %s would both be called %s", other, b.Package, b.Path)
		}
		names[b.Path] = b.Package
		bins[i].Path = filepath.Join(dir, b.Path)
		args = append(args, b.Package)
	}
	if err := t.Build(ctx, nil, args...); err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	for _, b := range bins {
		if _, err := os.Stat(b.Path); err != nil {
			return nil, fmt.Errorf("go %s of %s left no executable: %w", command[0], b.Package, err)
		}
	}
	return bins, nil
}

// Cache makes and names a directory of the cache.
func (t *Toolchain) Cache(elem ...string) (string, error) {
	if t.CacheDir == "" {
		return "", errors.New("no cache directory given")
	}
	// The go command, run in Dir, must not take it as relative to that.
	dir, err := filepath.Abs(filepath.Join(append([]string{t.CacheDir}, elem...)...))
	if err == nil {
		err = os.MkdirAll(dir, 0o777)
	}
	if err != nil {
		return "", fmt.Errorf("cache directory: %w", err)
	}
	return dir, nil
}

// Tell tells of a step that takes time.
func (t *Toolchain) Tell(format string, args ...any) {
	if t.Progress != nil {
		t.Progress(fmt.Sprintf(format, args...))
	}
}
