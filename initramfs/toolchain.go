package initramfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vspawn/vspawn/nommu"
)

// Toolchain says for whom Go code is compiled, and where from.
type Toolchain struct {
	// GOARCH is the guest's architecture.
	GOARCH string
	// NoMMU builds for a kernel without an MMU, whose MAX_PAGE_ORDER is
	// MaxOrder; 0 is the kernel's default.
	NoMMU    bool
	MaxOrder int
	// Dir is a directory of the module whose go.mod counts; the working
	// directory if empty.
	Dir string
	// CacheDir keeps what need not be built again; it is made if need be. Any
	// number of processes may use it at once.
	CacheDir string
	// Progress, if not nil, is told of each step that takes time, as one line.
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
	pkgs, err := t.list(ctx, packages)
	if err != nil {
		return nil, err
	}
	var bins []Binary
	for _, p := range pkgs {
		if p.Name != "main" {
			return nil, inputErrorf("%s is no program: it is package %s", p.ImportPath, p.Name)
		}
		bins = append(bins, Binary{Package: p.ImportPath, Dir: p.Dir, Path: p.base()})
	}
	return t.compile(ctx, bins, t.machine(), "build")
}

// Tests compiles the test binaries of packages. With noInline, nothing is inlined
// into the functions of this module; the standard library is compiled as ever,
// since users have no other.
func (t *Toolchain) Tests(ctx context.Context, noInline bool, packages ...string) ([]Binary, error) {
	pkgs, err := t.list(ctx, packages)
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
		return nil, inputErrorf("no test files for linux/%s in %s", t.GOARCH, strings.Join(packages, " "))
	}
	if !noInline {
		return t.compile(ctx, bins, t.machine(), "test", "-c")
	}
	return t.compile(ctx, bins, t.machine()+"-noinline", "test", "-c", "-gcflags="+pkgs[0].Module.Path+"/...=-l")
}

// machine names the kind of machine that programs are for.
func (t *Toolchain) machine() string {
	if t.NoMMU {
		return fmt.Sprintf("%s-nommu%d", t.GOARCH, t.MaxOrder)
	}
	return t.GOARCH
}

// compile runs one go command for all of bins, whose Path is a file name at
// first, and leaves them in the directory called variant. The go command sees for
// itself which of them are up to date.
func (t *Toolchain) compile(ctx context.Context, bins []Binary, variant string, command ...string) ([]Binary, error) {
	dir, err := t.cache("bin", variant)
	if err != nil {
		return nil, inputErrorf("%w", err)
	}
	t.progress("compiling %d packages for %s", len(bins), variant)
	args := append(command, buildFlags...)
	args = append(args, "-o", dir+string(filepath.Separator))
	names := map[string]string{}
	for i, b := range bins {
		// Of two programs with one name, go build would keep the last.
		if other, dup := names[b.Path]; dup {
			return nil, inputErrorf("%s and %s would both be called %s", other, b.Package, b.Path)
		}
		names[b.Path] = b.Package
		bins[i].Path = filepath.Join(dir, b.Path)
		args = append(args, b.Package)
	}
	if err := t.build(ctx, nil, args...); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	for _, b := range bins {
		if _, err := os.Stat(b.Path); err != nil {
			return nil, fmt.Errorf("initramfs: go %s of %s left no executable: %w", command[0], b.Package, err)
		}
	}
	return bins, nil
}

// Small and reproducible: no paths of this machine, no version control state.
var buildFlags = []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w"}

// listed is what is asked about a package, in the words of go list.
type listed struct {
	ImportPath string
	Dir        string
	Name       string
	Module     struct {
		Path string
		Main bool
	}
	TestGoFiles  []string
	XTestGoFiles []string
}

func (l *listed) base() string { return l.ImportPath[strings.LastIndexByte(l.ImportPath, '/')+1:] }

func (t *Toolchain) list(ctx context.Context, packages []string) ([]listed, error) {
	if len(packages) == 0 {
		return nil, inputErrorf("no packages given")
	}
	args := append([]string{"list", "-json=ImportPath,Dir,Name,Module,TestGoFiles,XTestGoFiles", "--"}, packages...)
	out, err := t.ask(ctx, args...)
	if err != nil {
		return nil, err
	}
	var pkgs []listed
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			return nil, fmt.Errorf("initramfs: output of go list: %w", err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs, nil
}

// ask runs a go command that only looks at what it was given, so that its failure
// is the caller's mistake, told in one line.
func (t *Toolchain) ask(ctx context.Context, args ...string) ([]byte, error) {
	out, err := t.run(ctx, nil, args...)
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("initramfs: %w", err)
	default:
		return nil, inputErrorf("%s", strings.Join(strings.Fields(err.Error()), " "))
	}
}

// build runs go build, or go test -c, for the guest in Dir.
func (t *Toolchain) build(ctx context.Context, env []string, args ...string) error {
	if !t.NoMMU {
		_, err := t.run(ctx, env, args...)
		return err
	}
	tmp, err := t.cache("tmp")
	if err != nil {
		return err
	}
	o := nommu.Options{Dir: t.Dir, Env: append([]string{"GOTMPDIR=" + tmp}, env...), MaxOrder: t.MaxOrder}
	o.Args, o.Test = args[1:], args[0] == "test"
	if o.Test {
		o.Args = args[2:] // without -c
	}
	return nommu.Build(ctx, o)
}

// run runs the go command for the guest in Dir and gives its standard output.
func (t *Toolchain) run(ctx context.Context, env []string, args ...string) ([]byte, error) {
	if t.GOARCH == "" {
		return nil, errors.New("no GOARCH given")
	}
	tmp, err := t.cache("tmp")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = t.Dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+t.GOARCH, "CGO_ENABLED=0",
		// On the file system of the cache the go command renames a finished
		// executable into place; from elsewhere it copies, and an interrupt
		// would leave half of one.
		"GOTMPDIR="+tmp)
	cmd.Env = append(cmd.Env, env...)
	// An interrupted go command removes its temporary files.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("go %s: %w", args[0], ctx.Err())
		}
		if text := complaint(stderr.String()); text != "" {
			err = errors.New(text)
		}
		return nil, fmt.Errorf("go %s for linux/%s: %w", args[0], t.GOARCH, err)
	}
	return stdout.Bytes(), nil
}

// complaint is what the go command says, without its news of downloads.
func complaint(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "go: downloading ") {
			lines = append(lines, line)
		}
	}
	return strings.TrimSpace(strings.Join(lines, ""))
}

// cache makes and names a directory of the cache.
func (t *Toolchain) cache(elem ...string) (string, error) {
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

func (t *Toolchain) progress(format string, args ...any) {
	if t.Progress != nil {
		t.Progress(fmt.Sprintf(format, args...))
	}
}
