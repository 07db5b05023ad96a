package supply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/internal/host"
)

// A Packaged is a kernel that Debian has for an architecture.
type Packaged struct {
	Arch    string  // Go's name
	Package string  // the one that depends on the newest kernel's
	Suites  []Suite // in order of preference
	// Modules are wanted with it, in the order of loading. Those that the kernel
	// has built in, or not at all, are passed over.
	Modules []string
	Magic   []Magic // of the image: any of these
}

// From implements Spec.
func (p Packaged) From(suites []Suite) Spec {
	p.Suites = suites
	return p
}

// Tools implements Spec.
func (p Packaged) Tools() []host.Tool {
	return slices.Concat(fetchTools(), p.unpackers())
}

func (p Packaged) unpackers() []host.Tool {
	if len(p.Modules) == 0 {
		return nil
	}
	return []host.Tool{decompressors[".xz"]}
}

// decompressors are those for modules, by the ends of their files' names.
var decompressors = map[string]host.Tool{
	".xz":  {Program: "xz", Package: "xz-utils"},
	".zst": {Program: "zstd", Package: "zstd"},
}

func (p Packaged) about() about {
	arch := debianArch(p.Arch)
	return about{
		what:    p.Package + " for " + arch,
		kind:    "kernel",
		arch:    arch,
		tools:   slices.Concat(programs, p.unpackers()),
		suites:  p.Suites,
		modules: p.Modules,
	}
}

func (p Packaged) entry(suite string) string {
	return filepath.Join("kernels", p.Package+"-"+debianArch(p.Arch)+"-"+suite)
}

// find knows two layouts: all is in the package that the metapackage depends on,
// or image and modules are in one each that this one depends on.
func (p Packaged) find(ctx context.Context, a *apt, modules []string) (found, error) {
	meta, err := a.show(ctx, p.Package, a.arch)
	if err != nil {
		return found{}, err
	}
	pkg := dependency(meta["Depends"], "linux-image-")
	if pkg == "" {
		return found{}, &unserved{p.Package + " depends on no kernel's package", true}
	}
	image, err := a.show(ctx, pkg, a.arch)
	if err != nil {
		return found{}, err
	}
	f := found{pkg: pkg, version: image["Version"]}
	binary := dependency(image["Depends"], "linux-binary-")
	f.debs = []deb{{cmp.Or(binary, pkg), a.arch}}
	if own := dependency(image["Depends"], "linux-modules-"); binary != "" && own != "" && len(modules) > 0 {
		f.debs = append(f.debs, deb{own, a.arch})
	}
	return f, nil
}

var (
	imageName  = regexp.MustCompile(`^(/boot|(/usr)?/lib/modules/[^/]+)/vmlinu[^/]*$`)
	moduleName = regexp.MustCompile(`^(?:/usr)?/lib/modules/[^/]+/kernel/.*/([^/]+)\.ko(\.xz|\.zst)?$`)
)

func moduleFile(name string) string { return name + ".ko" }

func (p Packaged) build(ctx context.Context, j *job) error {
	have := map[string]bool{}
	for _, file := range j.debs {
		err := inPackage(ctx, file, func(name string, r io.Reader) error {
			if imageName.MatchString(name) && j.record.File == "" {
				j.record.File = path.Base(name)
				if err := save(filepath.Join(j.dir, j.record.File), r, 0o644); err != nil {
					return err
				}
			}
			if m := moduleName.FindStringSubmatch(name); m != nil {
				if wanted := slices.IndexFunc(j.modules, func(n string) bool { return sameModule(n, m[1]) }); wanted >= 0 {
					have[j.modules[wanted]] = true
					return saveModule(ctx, filepath.Join(j.dir, moduleFile(j.modules[wanted])), m[2], r)
				}
			}
			if j.record.File != "" && len(j.modules) == 0 {
				return errFound
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if j.record.File == "" {
		return &unserved{j.record.Package + " has no kernel image", true}
	}
	if err := CheckMagic(p.Magic, filepath.Join(j.dir, j.record.File)); err != nil {
		return &unserved{fmt.Sprintf("%s of %s is no kernel image for %s", j.record.File, j.record.Package, p.Arch), true}
	}
	for _, m := range j.modules {
		if have[m] {
			j.record.ModuleFiles = append(j.record.ModuleFiles, moduleFile(m))
		}
	}
	return nil
}

// sameModule knows that the kernel takes "-" and "_" in names for the same.
func sameModule(a, b string) bool {
	return strings.ReplaceAll(a, "-", "_") == strings.ReplaceAll(b, "-", "_")
}

// saveModule writes a module as the kernel itself can load it.
func saveModule(ctx context.Context, file, packed string, r io.Reader) error {
	if packed == "" {
		return save(file, r, 0o644)
	}
	tool := decompressors[packed]
	if err := host.CheckTools([]host.Tool{tool}); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, tool.Program, "--decompress", "--stdout")
	cmd.Stdin, cmd.Stdout = r, f
	return errors.Join(unpack(cmd, filepath.Base(file)), f.Close())
}

func (p Packaged) check(_ context.Context, k Kernel) error { return CheckMagic(p.Magic, k.Path) }
