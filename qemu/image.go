package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/initramfs"
	"github.com/vspawn/vspawn/internal/gobuild"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// A Suite is a package whose tests run in the guests, built with inlining on
// and off. Its testdata goes with it.
type Suite struct {
	Package  string            // import path, or relative to the module, such as ./asm
	Commands []string          // main packages that its tests need, which go to /bin
	Once     bool              // only with inlining
	Args     []string          // flags of the test binary, such as -test.short
	Env      []string          // of the test binary
	Skip     map[string]string // tests that are not to run, and why
	Dir      string            // of the tests in the guest; "" is below /tests
	Sources  bool              // the package's other files go with it too
	Files    []initramfs.File  // and these
	Together bool              // tests may need each other: one guest has all of them
	NoMMU    bool              // only for machines without an MMU
}

// forMachine gives the suites that run on a machine that tc compiles for.
func forMachine(suites []Suite, tc initramfs.Toolchain) []Suite {
	return slices.DeleteFunc(slices.Clone(suites), func(s Suite) bool { return s.NoMMU && !tc.NoMMU })
}

// args are the flags that the binary gets, and the whole tests that it will not
// run.
func (s *Suite) args() (args, skip []string) {
	args = slices.Clone(s.Args)
	var patterns []string
	for _, name := range slices.Sorted(maps.Keys(s.Skip)) {
		if !strings.Contains(name, "/") {
			skip = append(skip, name)
		}
		patterns = append(patterns, "^"+strings.ReplaceAll(regexp.QuoteMeta(name), "/", "$/^")+"$")
	}
	if patterns != nil {
		args = append(args, "-test.skip="+strings.Join(patterns, "|"))
	}
	return args, skip
}

const agentPackage = "github.com/vspawn/vspawn/qemu/guest"

// agentInit is where the agent is in a test image.
const agentInit = "/bin/guest"

// A payload is what a test image holds beside u-root and the plan.
type payload struct {
	files  []initramfs.File
	suites []suite
}

// compile compiles the agent and the suites for one target; with symbols, those are
// in the test binaries.
func compile(ctx context.Context, tc initramfs.Toolchain, suites []Suite, symbols bool) (payload, error) {
	var p payload
	commands := []string{agentPackage}
	packages := map[bool][]string{} // by noInline
	byBase := map[string]Suite{}
	for _, s := range forMachine(suites, tc) {
		commands = append(commands, s.Commands...)
		packages[false] = append(packages[false], s.Package)
		if !s.Once {
			packages[true] = append(packages[true], s.Package)
		}
		byBase[path.Base(s.Package)] = s
	}
	compiler := gobuild.Toolchain(tc)
	programs, err := compiler.Programs(ctx, commands...)
	if err != nil {
		return p, err
	}
	for _, b := range programs {
		p.files = append(p.files, initramfs.File{Path: "/bin/" + filepath.Base(b.Path), Host: b.Path})
	}
	tests := compiler.Tests
	if symbols {
		tests = compiler.TestsForDebugger
	}
	for _, noInline := range []bool{false, true} {
		if len(packages[noInline]) == 0 {
			continue
		}
		bins, err := tests(ctx, noInline, packages[noInline]...)
		if err != nil {
			return p, err
		}
		// One whose files are all for another system would be gone without a word.
		if len(bins) != len(packages[noInline]) {
			return p, fmt.Errorf("of %d packages %d have tests for linux/%s: %s", len(packages[noInline]), len(bins), tc.GOARCH, strings.Join(packages[noInline], " "))
		}
		for _, b := range bins {
			base := path.Base(b.Package)
			name, env := base, []string{"VSPAWN_INLINING=on"}
			if noInline {
				name, env = base+"[noinline]", []string{"VSPAWN_INLINING=off"}
			}
			s := byBase[base]
			dir := s.Dir
			if dir == "" {
				dir = "/tests/" + name
			}
			exe := path.Join(dir, base+".test")
			p.files = append(p.files, initramfs.File{Path: exe, Host: b.Path})
			args, skip := s.args()
			env = append(env, s.Env...)
			names, err := sourceTests(b.TestFiles)
			if err != nil {
				return p, err
			}
			p.suites = append(p.suites, suite{
				Binary: wire.Binary{Name: name, Path: exe, Dir: dir, Env: env, Args: args, Skip: skip, Together: s.Together},
				tests:  names, host: b.Path,
			})
			data, err := testdata(b.Dir, dir, s.Sources)
			if err != nil {
				return p, err
			}
			p.files = append(p.files, data...)
			p.files = append(p.files, s.Files...)
		}
	}
	return p, nil
}

// image writes the image that runs plan on the payload.
func (p payload) image(ctx context.Context, tc initramfs.Toolchain, plan wire.Plan, out string) error {
	for _, s := range p.suites {
		plan.Binaries = append(plan.Binaries, s.Binary)
	}
	b, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	files := append(slices.Clone(p.files), initramfs.File{Path: "/" + wire.PlanPath, Data: b, Mode: 0o644})
	_, err = initramfs.Build(ctx, initramfs.Spec{Toolchain: tc, Files: files, Out: out})
	return err
}

// testdata lists the files of a package's testdata, and with sources those
// beside it too.
func testdata(pkgDir, guestDir string, sources bool) ([]initramfs.File, error) {
	var files []initramfs.File
	root := filepath.Join(pkgDir, "testdata")
	if _, err := os.Stat(root); err != nil && !sources {
		return nil, nil
	}
	if sources {
		root = pkgDir
	}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		// What is in a folder that has no testdata above it is another package's.
		if err == nil && d.IsDir() && filepath.Dir(p) == pkgDir && d.Name() != "testdata" {
			return fs.SkipDir
		}
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
