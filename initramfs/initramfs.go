// Package initramfs builds the root file system that a guest boots: u-root's
// init, shell and commands as a cached base, and over it whatever the caller
// adds, such as this module's commands and test binaries.
//
// The same input gives the same bytes. An image is two gzip members, which the
// kernel unpacks one after the other: the base, which changes only with the Go
// release or the modules' versions, and the overlay.
package initramfs

import (
	"context"
)

// InputError is an error that the caller can mend: a wrong GOARCH, an unknown
// package, a missing file. A command answers it with exit status 2.
type InputError struct{ Err error }

// Error implements error.
func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap gives the error underneath.
func (e *InputError) Unwrap() error { return e.Err }

// Toolchain says for whom Go code is compiled, and where from.
type Toolchain struct {
	// GOARCH is the guest's architecture.
	GOARCH string
	// Dir is a directory of the module whose go.mod counts; the working
	// directory if empty.
	Dir string
	// CacheDir keeps what need not be built again. Any number of processes
	// may use it at once.
	CacheDir string
	// Progress, if not nil, is told of each step that takes time, as one line.
	Progress func(string)
}

// Binary is a static executable for a guest.
type Binary struct {
	Package string // import path
	Path    string // on the host
}

// Programs compiles main packages, given by import path or by a pattern relative
// to Dir.
func (t *Toolchain) Programs(ctx context.Context, packages ...string) ([]Binary, error) {
	panic("TODO")
}

// Tests compiles the test binaries of packages. With noInline the functions of
// this module are compiled with inlining off.
func (t *Toolchain) Tests(ctx context.Context, noInline bool, packages ...string) ([]Binary, error) {
	panic("TODO")
}

// File is one file of the overlay. It replaces a file of that path in the base.
type File struct {
	Path string // in the guest, such as /tests/asm.test
	Host string // file to copy, or
	Data []byte // the content, if Host is empty
	Mode uint32 // permission bits; 0 means 0o755
}

// Spec is what an image is made of.
type Spec struct {
	Toolchain
	// Commands are the import paths of the u-root commands in the base; nil
	// means DefaultCommands. Any command of another module will do.
	Commands []string
	// Files are the overlay.
	Files []File
	// Out is the path of the image. Nothing is left there if Build fails.
	Out string
}

// Result describes an image.
type Result struct {
	Path   string
	Size   int64
	SHA256 string
	// BaseCached is set if the base had not to be built.
	BaseCached bool
}

// Build writes the image that spec describes.
func Build(ctx context.Context, spec Spec) (Result, error) {
	panic("TODO")
}
