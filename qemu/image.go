package qemu

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

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

// A payload is what a test image holds beside u-root and the plan.
type payload struct {
	files    []initramfs.File
	binaries []wire.Binary
}

// compile compiles the agent and the suites for one target.
func compile(ctx context.Context, tc initramfs.Toolchain, suites []Suite) (payload, error) {
	var p payload
	commands := []string{agentPackage}
	var packages []string
	dirs := map[string]string{}
	for _, s := range suites {
		commands = append(commands, s.Commands...)
		packages = append(packages, s.Package)
		dirs[path.Base(s.Package)] = filepath.Join(tc.Dir, s.Package)
	}
	programs, err := tc.Programs(ctx, commands...)
	if err != nil {
		return p, err
	}
	for _, b := range programs {
		p.files = append(p.files, initramfs.File{Path: "/bin/" + filepath.Base(b.Path), Host: b.Path})
	}
	for _, noInline := range []bool{false, true} {
		bins, err := tc.Tests(ctx, noInline, packages...)
		if err != nil {
			return p, err
		}
		for _, b := range bins {
			base := path.Base(b.Package)
			name, env := base, []string{"VSPAWN_INLINING=on"}
			if noInline {
				name, env = base+"[noinline]", []string{"VSPAWN_INLINING=off"}
			}
			dir := "/tests/" + name
			exe := path.Join(dir, base+".test")
			p.files = append(p.files, initramfs.File{Path: exe, Host: b.Path})
			p.binaries = append(p.binaries, wire.Binary{Name: name, Path: exe, Dir: dir, Env: env})
			data, err := testdata(dirs[base], dir)
			if err != nil {
				return p, err
			}
			p.files = append(p.files, data...)
		}
	}
	return p, nil
}

// image writes the image that runs plan on the payload.
func (p payload) image(ctx context.Context, tc initramfs.Toolchain, plan wire.Plan, out string) error {
	plan.Binaries = p.binaries
	b, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	files := append(slices.Clone(p.files), initramfs.File{Path: "/" + wire.PlanPath, Data: b, Mode: 0o644})
	_, err = initramfs.Build(ctx, initramfs.Spec{Toolchain: tc, Files: files, Out: out})
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
