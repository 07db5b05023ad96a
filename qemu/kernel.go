package qemu

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A Kernel is a kernel image on this machine.
type Kernel struct {
	Path    string `json:"-"`
	Package string // Debian package and version; "" for a file of the user's
	File    string // base name
	SHA256  string // of the file
	// Compiler made the kernel from the source in Package.
	Compiler string `json:",omitempty"`
}

// Kernels is a cache of kernel images: a directory for each target, or, of those
// that are built, for each set of options.
type Kernels struct {
	Dir string
}

// DefaultKernels is the user's cache, which outlives the checkout.
func DefaultKernels() (Kernels, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return Kernels{}, usagef("no place for the cache: set XDG_CACHE_HOME or HOME")
	}
	return Kernels{filepath.Join(dir, "vspawn", "kernels")}, nil
}

// Given returns a kernel image of the user's own.
func Given(t Target, file string) (Kernel, error) {
	if err := checkMagic(t, file); err != nil {
		return Kernel{}, usagef("KERNEL_%s=%s: %w: give the path of a kernel image", t.Name, file, err)
	}
	abs, err := filepath.Abs(file)
	return Kernel{Path: abs, File: filepath.Base(file)}, err
}

func (k Kernels) place(t Target) string {
	if t.Source != nil {
		return filepath.Join(k.Dir, t.Name+"-"+t.Source.inputs())
	}
	return filepath.Join(k.Dir, t.Name)
}

// temporary begins the names of directories that an interrupted run left.
const temporary = ".fetch"

// Get returns the targets' kernels, and fetches or builds those that the cache
// lacks, or that it has older ones of if fresh is set. It reports what takes time.
func (k Kernels) Get(ctx context.Context, targets []Target, fresh bool, report func(Status)) (map[string]Kernel, error) {
	if err := os.MkdirAll(k.Dir, 0o755); err != nil {
		return nil, usagef("cache directory: %w", err)
	}
	unlock, err := lockDir(ctx, k.Dir, func() {
		for _, t := range targets {
			report(Status{Target: t.Name, Phase: "waiting for another run to have its kernels"})
		}
	})
	if err != nil {
		return nil, err
	}
	defer unlock()

	got := map[string]Kernel{}
	var missing []Target
	for _, t := range targets {
		if kernel, err := k.cached(ctx, t); err == nil && !fresh {
			got[t.Name] = kernel
			continue
		}
		missing = append(missing, t)
	}
	if len(missing) == 0 {
		return got, nil
	}
	for _, t := range missing {
		report(Status{Target: t.Name, Phase: "fetching the kernel"})
	}
	tmp, err := workDir(k.Dir)
	if err != nil {
		return nil, usagef("cache directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	var archs []string
	for _, t := range missing {
		// Debian and Go agree on these names.
		if !slices.Contains(archs, t.GOARCH) {
			archs = append(archs, t.GOARCH)
		}
	}
	a, err := newAPT(ctx, tmp, suite, archs)
	if err == nil {
		err = a.update(ctx)
	}
	if err != nil {
		return nil, usagef("kernels are fetched by apt, or given by KERNEL_<target>=path: %w", err)
	}
	for _, t := range missing {
		kernel, err := k.fetch(ctx, a, t, report)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, usagef("no kernel for %s; give one by KERNEL_%s=path: %w", t.Name, t.Name, err)
		}
		got[t.Name] = kernel
		report(Status{Target: t.Name, Phase: "has its kernel"})
	}
	return got, nil
}

// workDir makes a directory in dir, whose lock we hold: what a run left that was
// killed is in nobody's hands.
func workDir(dir string) (string, error) {
	if stale, err := filepath.Glob(filepath.Join(dir, temporary+"*")); err == nil {
		for _, old := range stale {
			os.RemoveAll(old)
		}
	}
	return os.MkdirTemp(dir, temporary)
}

// GetShown is Get that shows on out how it goes.
func (k Kernels) GetShown(ctx context.Context, targets []Target, fresh bool, out *os.File) (map[string]Kernel, error) {
	p := newProgress(out, namesOf(targets))
	defer p.close()
	return k.Get(ctx, targets, fresh, p.set)
}

// cached returns the cached kernel if it is whole, and not another compiler's.
func (k Kernels) cached(ctx context.Context, t Target) (Kernel, error) {
	dir := k.place(t)
	b, err := os.ReadFile(filepath.Join(dir, "kernel.json"))
	if err != nil {
		return Kernel{}, err
	}
	var kernel Kernel
	if err := json.Unmarshal(b, &kernel); err != nil {
		return Kernel{}, fmt.Errorf("%s: %w", dir, err)
	}
	if t.Source != nil {
		// Without a compiler there is nothing to replace the kernel by.
		if compiler, err := t.Source.compiler(ctx); err == nil && compiler != kernel.Compiler {
			return Kernel{}, fmt.Errorf("%s: made by %s, not %s", dir, kernel.Compiler, compiler)
		}
	}
	kernel.Path = filepath.Join(dir, kernel.File)
	sum, err := fileSHA256(kernel.Path)
	if err != nil {
		return Kernel{}, err
	}
	if sum != kernel.SHA256 {
		return Kernel{}, fmt.Errorf("%s: SHA-256 is %s, recorded was %s", kernel.Path, sum, kernel.SHA256)
	}
	return kernel, checkMagic(t, kernel.Path)
}

// fetch puts a target's kernel into the cache, whole or not at all.
func (k Kernels) fetch(ctx context.Context, a *apt, t Target, report func(Status)) (Kernel, error) {
	arch := t.GOARCH
	if t.Source != nil {
		arch = anyArch
	}
	pkg, err := a.kernelPackage(ctx, t.Kernel, arch)
	if err != nil {
		return Kernel{}, err
	}
	version, err := a.version(ctx, pkg, arch)
	if err != nil {
		return Kernel{}, err
	}
	kernel := Kernel{Package: pkg + "_" + version}
	if t.Source != nil {
		if kernel.Compiler, err = t.Source.compiler(ctx); err != nil {
			return Kernel{}, err
		}
	}
	if old, err := k.cached(ctx, t); err == nil && old.Package == kernel.Package {
		return old, nil
	}
	dir, err := os.MkdirTemp(a.dir, t.Name)
	if err != nil {
		return Kernel{}, err
	}
	deb, err := a.download(ctx, dir, pkg, arch)
	if err != nil {
		return Kernel{}, err
	}
	if t.Source != nil {
		log := k.place(t) + ".log"
		kernel.File, err = t.Source.build(ctx, deb, dir, log, func(phase, detail string) {
			report(Status{Target: t.Name, Phase: phase, Detail: detail})
		})
	} else {
		kernel.File, err = unpack(ctx, deb, "/boot", "vmlinu", dir, 0o644)
	}
	if err != nil {
		return Kernel{}, fmt.Errorf("%s: %w", pkg, err)
	}
	if kernel.SHA256, err = fileSHA256(filepath.Join(dir, kernel.File)); err != nil {
		return Kernel{}, err
	}
	if err := os.Remove(deb); err != nil {
		return Kernel{}, err
	}
	b, err := json.MarshalIndent(kernel, "", "\t")
	if err != nil {
		return Kernel{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "kernel.json"), append(b, '\n'), 0o644); err != nil {
		return Kernel{}, err
	}
	if err := os.RemoveAll(k.place(t)); err != nil {
		return Kernel{}, err
	}
	if err := os.Rename(dir, k.place(t)); err != nil {
		return Kernel{}, err
	}
	return k.cached(ctx, t)
}

// unpack takes the first file of a package that is in from, and whose name begins
// with prefix, into a directory, and returns its name.
func unpack(ctx context.Context, deb, from, prefix, into string, mode os.FileMode) (name string, err error) {
	err = inPackage(ctx, deb, from, prefix, func(file string, r io.Reader) error {
		name = file
		f, err := os.OpenFile(filepath.Join(into, name), os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		if _, err := io.Copy(f, r); err != nil {
			f.Close()
			return err
		}
		return f.Close()
	})
	return name, err
}

// inPackage hands use the first file of a package that is in dir and whose name
// begins with prefix.
func inPackage(ctx context.Context, deb, dir, prefix string, use func(name string, r io.Reader) error) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	// The rest of the package is of no use: don't wait for it.
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	for r := tar.NewReader(out); ; {
		h, err := r.Next()
		if err != nil {
			return fmt.Errorf("no %s* in %s: %w", prefix, dir, err)
		}
		name := path.Base(h.Name)
		if h.Typeflag == tar.TypeReg && path.Dir(path.Clean("/"+h.Name)) == dir && strings.HasPrefix(name, prefix) {
			return use(name, r)
		}
	}
}

func checkMagic(t Target, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, m := range t.Magic {
		b := make([]byte, len(m.Bytes))
		if _, err := f.ReadAt(b, m.Offset); err == nil && string(b) == m.Bytes {
			return nil
		}
	}
	return fmt.Errorf("%s is no kernel image for %s", file, t.GOARCH)
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
