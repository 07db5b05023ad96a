// Package initramfs builds the root file system that a guest boots: u-root's
// init, shell and commands as a cached base, and over it this module's commands
// and whatever the caller adds, such as test binaries.
//
// The same input gives the same bytes. An image is two gzip members, which the
// kernel unpacks one after the other: the base, which changes only with the Go
// release or the modules' versions, and the overlay.
package initramfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/vspawn/vspawn/internal/gobuild"
	"github.com/vspawn/vspawn/internal/usage"
)

// InputError is an error that the caller can mend: a wrong GOARCH, an unknown
// package, a missing file. A command answers it with exit status 2. Packages nommu
// and qemu give the same type.
type InputError = usage.Error

func inputErrorf(format string, args ...any) error {
	return usage.Errorf("initramfs: "+format, args...)
}

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

func (t Toolchain) compiler() *gobuild.Toolchain { return (*gobuild.Toolchain)(&t) }

// Spec is what an image is made of.
type Spec struct {
	Toolchain
	// Commands are the import paths of the commands in the base; nil means
	// DefaultCommands, and an empty list that there are none. They come from
	// other modules, as the base's cache looks at versions; those of this
	// module are Programs.
	Commands []string
	// Programs are main packages of this module to compile and put into /bin.
	Programs []string
	// Files are added last, and replace files of the same path in the base.
	Files []File
	// Out is the path of the image. Its directory is made if need be. If
	// Build fails, what was at Out before is still there.
	Out string
}

// Result describes an image.
type Result struct {
	Path       string
	Size       int64
	SHA256     string
	BaseCached bool // the base had not to be built
}

// Build writes the image that spec describes.
func Build(ctx context.Context, spec Spec) (Result, error) {
	if spec.Out == "" {
		return Result{}, inputErrorf("no output path given")
	}
	if fi, err := os.Stat(spec.Out); err == nil && !fi.Mode().IsRegular() {
		return Result{}, inputErrorf("image: %s is there and not a regular file", spec.Out)
	}
	if _, err := overlay(spec.Files); err != nil {
		return Result{}, err
	}
	if err := os.MkdirAll(filepath.Dir(spec.Out), 0o777); err != nil {
		return Result{}, inputErrorf("directory of the image: %w", err)
	}
	// Made before the long work, so that a place that can't be written to is
	// known at once; renamed after it, so that nobody sees half an image.
	out, err := createTemp(spec.Out)
	if err != nil {
		return Result{}, inputErrorf("image: %w", err)
	}
	defer out.discard()

	var files []File
	if len(spec.Programs) > 0 {
		programs, err := spec.compiler().Programs(ctx, spec.Programs...)
		if err != nil {
			return Result{}, fmt.Errorf("initramfs: %w", err)
		}
		for _, p := range programs {
			files = append(files, File{Path: path.Join("/bin", filepath.Base(p.Path)), Host: p.Path})
		}
	}
	base, cached, err := spec.base(ctx)
	if err != nil {
		return Result{}, err
	}
	records, err := overlay(append(files, spec.Files...))
	if err != nil {
		return Result{}, err
	}

	hash := sha256.New()
	w := io.MultiWriter(out, hash)
	b, err := os.Open(base)
	if err != nil {
		return Result{}, fmt.Errorf("initramfs: cached base: %w", err)
	}
	defer b.Close()
	if _, err := io.Copy(w, b); err != nil {
		return Result{}, fmt.Errorf("initramfs: copying the base to %s: %w", spec.Out, err)
	}
	if err := writeArchive(w, records, overlayLevel); err != nil {
		return Result{}, fmt.Errorf("initramfs: writing %s: %w", spec.Out, err)
	}
	size, err := out.commit()
	if err != nil {
		return Result{}, fmt.Errorf("initramfs: %w", err)
	}
	return Result{
		Path:       spec.Out,
		Size:       size,
		SHA256:     hex.EncodeToString(hash.Sum(nil)),
		BaseCached: cached,
	}, nil
}

// tempFile becomes the file at path when it is whole, or nothing.
type tempFile struct {
	*os.File
	path string
}

func createTemp(path string) (*tempFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, err
	}
	return &tempFile{f, path}, nil
}

// discard is a no-op after commit.
func (t *tempFile) discard() {
	t.Close()
	os.Remove(t.Name())
}

func (t *tempFile) commit() (size int64, err error) {
	fi, err := t.Stat()
	if err != nil {
		return 0, err
	}
	if err := t.Chmod(0o644); err != nil {
		return 0, err
	}
	if err := t.Close(); err != nil {
		return 0, err
	}
	return fi.Size(), os.Rename(t.Name(), t.path)
}

// Extend writes to out an image made by Build with further files. They replace
// files of the same path.
func Extend(image string, files []File, out string) error {
	records, err := overlay(files)
	if err != nil {
		return err
	}
	f, err := createTemp(out)
	if err != nil {
		return inputErrorf("image: %w", err)
	}
	defer f.discard()
	base, err := os.Open(image)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	defer base.Close()
	if _, err := io.Copy(f, base); err != nil {
		return fmt.Errorf("initramfs: copying %s to %s: %w", image, out, err)
	}
	if err := writeArchive(f, records, overlayLevel); err != nil {
		return fmt.Errorf("initramfs: writing %s: %w", out, err)
	}
	_, err = f.commit()
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return nil
}
