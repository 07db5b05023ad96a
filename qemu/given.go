package qemu

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/vspawn/vspawn/initramfs"
	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// GivenFiles are a kernel of the user's own.
type GivenFiles struct {
	Kernel  string   // path of the image
	Modules []string // paths of those that the event port needs, in the order of loading
}

// check tells what is wrong with it on a target.
func (g GivenFiles) check(t Target) error {
	if g.Kernel == "" {
		return usage.Errorf("MODULES_%s without KERNEL_%s: the modules of our own kernels come with them", t.variable(), t.variable())
	}
	if err := supply.CheckMagic(t.Magic, g.Kernel); err != nil {
		return usage.Errorf("KERNEL_%s=%s: %w: give the path of a kernel image for %s", t.variable(), g.Kernel, err, t.GOARCH)
	}
	for _, m := range g.Modules {
		if err := checkModule(m); err != nil {
			return usage.Errorf("MODULES_%s: %w: give the paths of kernel modules (.ko, not compressed), separated by commas", t.variable(), err)
		}
	}
	return nil
}

// checkModule tells whether a file looks like a module that a kernel takes.
func checkModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil || !bytes.Equal(magic, []byte("\x7fELF")) {
		return fmt.Errorf("%s is no ELF file", file)
	}
	return nil
}

// kernel is what a machine boots; what is wrong with the paths, check has found.
func (g GivenFiles) kernel() supply.Kernel {
	return supply.Kernel{Path: absolute(g.Kernel), File: filepath.Base(g.Kernel), Modules: g.Modules}
}

// GivenKernel is a kernel of the user's own for a target.
func GivenKernel(t Target, g GivenFiles) (supply.Kernel, error) { return g.kernel(), g.check(t) }

func absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil { // there is no current directory: QEMU will say the rest
		return path
	}
	return abs
}

// moduleFiles puts modules where the agent looks for them, in their order.
func moduleFiles(modules []string) []initramfs.File {
	var files []initramfs.File
	for i, m := range modules {
		files = append(files, initramfs.File{
			Path: fmt.Sprintf("/%s/%02d-%s", wire.ModulesDir, i, filepath.Base(m)),
			Host: m,
			Mode: 0o644,
		})
	}
	return files
}
