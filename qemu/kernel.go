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
	"strings"
)

// A Kernel is a kernel image on this machine.
type Kernel struct {
	Path    string `json:"-"`
	Package string // Debian package and version; "" for a file of the user's
	File    string // base name
	SHA256  string // of the file
}

// Kernels is a cache of kernel images, a directory for each target.
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

// Get returns the targets' kernels, and fetches those that the cache lacks, or
// all of them if fresh is set. It calls fetching for each one that it fetches.
func (k Kernels) Get(ctx context.Context, targets []Target, fresh bool, fetching func(Target)) (map[string]Kernel, error) {
	if err := os.MkdirAll(k.Dir, 0o755); err != nil {
		return nil, usagef("cache directory: %w", err)
	}
	unlock, err := lockDir(ctx, k.Dir, func() {})
	if err != nil {
		return nil, err
	}
	defer unlock()

	got := map[string]Kernel{}
	var missing []Target
	for _, t := range targets {
		if kernel, err := k.cached(t); err == nil && !fresh {
			got[t.Name] = kernel
			continue
		}
		missing = append(missing, t)
	}
	if len(missing) == 0 {
		return got, nil
	}
	for _, t := range missing {
		fetching(t)
	}
	tmp, err := os.MkdirTemp(k.Dir, ".fetch")
	if err != nil {
		return nil, usagef("cache directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	var archs []string
	for _, t := range missing {
		archs = append(archs, t.GOARCH) // Debian and Go agree on these names
	}
	a, err := newAPT(ctx, tmp, archs)
	if err != nil {
		return nil, err
	}
	if err := a.update(ctx); err != nil {
		return nil, err
	}
	for _, t := range missing {
		if err := k.fetch(ctx, a, t); err != nil {
			return nil, usagef("no kernel for %s; give one by KERNEL_%s=path: %w", t.Name, t.Name, err)
		}
		kernel, err := k.cached(t)
		if err != nil {
			return nil, err
		}
		got[t.Name] = kernel
	}
	return got, nil
}

// cached returns the cached kernel if it is whole.
func (k Kernels) cached(t Target) (Kernel, error) {
	dir := filepath.Join(k.Dir, t.Name)
	b, err := os.ReadFile(filepath.Join(dir, "kernel.json"))
	if err != nil {
		return Kernel{}, err
	}
	var kernel Kernel
	if err := json.Unmarshal(b, &kernel); err != nil {
		return Kernel{}, fmt.Errorf("%s: %w", dir, err)
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
func (k Kernels) fetch(ctx context.Context, a *apt, t Target) error {
	pkg, err := a.kernelPackage(ctx, t.Kernel, t.GOARCH)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(a.dir, t.Name)
	if err != nil {
		return err
	}
	deb, err := a.download(ctx, dir, pkg, t.GOARCH)
	if err != nil {
		return err
	}
	file, err := unpackKernel(ctx, deb, dir)
	if err != nil {
		return fmt.Errorf("%s: %w", pkg, err)
	}
	sum, err := fileSHA256(filepath.Join(dir, file))
	if err != nil {
		return err
	}
	debName := strings.TrimSuffix(filepath.Base(deb), ".deb")
	if err := os.Remove(deb); err != nil {
		return err
	}
	b, err := json.MarshalIndent(Kernel{Package: debName, File: file, SHA256: sum}, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "kernel.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	final := filepath.Join(k.Dir, t.Name)
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	return os.Rename(dir, final)
}

// unpackKernel takes the kernel image out of a package.
func unpackKernel(ctx context.Context, deb, dir string) (name string, err error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	// The rest of the package is of no use: don't wait for it.
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	for r := tar.NewReader(out); ; {
		h, err := r.Next()
		if err != nil {
			return "", fmt.Errorf("no kernel image in /boot: %w", err)
		}
		name := path.Base(h.Name)
		if path.Dir(path.Clean("/"+h.Name)) != "/boot" || !strings.HasPrefix(name, "vmlinu") {
			continue
		}
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		if _, err := io.Copy(f, r); err != nil {
			f.Close()
			return "", err
		}
		return name, f.Close()
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
