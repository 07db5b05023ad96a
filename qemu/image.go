package qemu

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/vspawn/vspawn/initramfs"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// A Suite is a package whose tests run in the guests, built with inlining on
// and off. Its testdata goes with it.
type Suite struct {
	Package  string   // relative to the module, such as ./asm
	Commands []string // main packages that its tests need, which go to /bin
}

const agentPackage = "github.com/vspawn/vspawn/qemu/guest"

// agentInit is where the agent is in a test image.
const agentInit = "/bin/guest"

// buildImage builds the test image of one target.
func buildImage(ctx context.Context, tc initramfs.Toolchain, suites []Suite, plan wire.Plan, out string) error {
	programs := []string{agentPackage}
	var packages []string
	for _, s := range suites {
		programs = append(programs, s.Commands...)
		packages = append(packages, s.Package)
	}
	var files []initramfs.File
	for _, noInline := range []bool{false, true} {
		bins, err := tc.Tests(ctx, noInline, packages...)
		if err != nil {
			return err
		}
		for _, b := range bins {
			base := path.Base(b.Package)
			name := base
			if noInline {
				name += "[noinline]"
			}
			dir := "/tests/" + name
			exe := path.Join(dir, base+".test")
			files = append(files, initramfs.File{Path: exe, Host: b.Path})
			plan.Binaries = append(plan.Binaries, wire.Binary{Name: name, Path: exe, Dir: dir})
			data, err := testdata(filepath.Join(tc.Dir, base), dir)
			if err != nil {
				return err
			}
			files = append(files, data...)
		}
	}
	b, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	files = append(files, initramfs.File{Path: "/" + wire.PlanPath, Data: b, Mode: 0o644})
	_, err = initramfs.Build(ctx, initramfs.Spec{Toolchain: tc, Programs: programs, Files: files, Out: out})
	return err
}

// testdata lists the files of a package's testdata.
func testdata(pkgDir, guestDir string) ([]initramfs.File, error) {
	var files []initramfs.File
	root := filepath.Join(pkgDir, "testdata")
	if _, err := os.Stat(root); err != nil {
		return nil, nil
	}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(pkgDir, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files = append(files, initramfs.File{
			Path: path.Join(guestDir, filepath.ToSlash(rel)),
			Host: p,
			Mode: uint32(info.Mode().Perm()),
		})
		return nil
	})
	return files, err
}
