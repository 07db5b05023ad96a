package initramfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/u-root/gobusybox/src/pkg/bb"
	"github.com/u-root/gobusybox/src/pkg/bb/findpkg"
	"github.com/u-root/gobusybox/src/pkg/golang"
	"github.com/u-root/u-root/pkg/cpio"
	"github.com/u-root/uio/llog"

	"github.com/vspawn/vspawn/internal/gobuild"
)

//go:embed commands.go
var commandsGo []byte

// DefaultCommands gives the import paths of the commands of an image: u-root's
// init, gosh, and what a person needs to look around.
func DefaultCommands() []string {
	f, err := parser.ParseFile(token.NewFileSet(), "commands.go", commandsGo, parser.ImportsOnly)
	if err != nil {
		panic(err) // the file is part of this program
	}
	var commands []string
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			panic(err)
		}
		commands = append(commands, p)
	}
	return commands
}

// layout is part of the base's cache key. Change it when the same commands would
// give another base.
const layout = "1"

// tags choose gosh's plain line editor. The other one hangs now and then when a
// line is entered, seen on guests with one processor.
const tags = "goshliner"

// base gives the path of the archive with the commands, built if it is not in the
// cache.
func (s *Spec) base(ctx context.Context) (file string, cached bool, err error) {
	commands := s.Commands
	if commands == nil {
		commands = DefaultCommands()
	}
	commands = slices.Compact(slices.Sorted(slices.Values(commands)))

	t := s.compiler()
	env, err := t.Env(ctx)
	if err != nil {
		return "", false, fmt.Errorf("initramfs: %w", err)
	}
	if filepath.Base(env.GOMOD) != "go.mod" {
		return "", false, inputErrorf("%q is not in a Go module", s.Dir)
	}
	key, err := baseKey(*env, t.Compiler(), commands)
	if err != nil {
		return "", false, err
	}
	dir, err := t.Cache("base")
	if err != nil {
		return "", false, inputErrorf("%w", err)
	}
	file = filepath.Join(dir, t.Machine()+"-"+key+".cpio.gz")
	if _, err := os.Stat(file); err == nil {
		return file, true, nil
	}

	t.Tell("building the base with %d commands for %s (only once)", len(commands), t.Machine())
	return file, false, buildBase(ctx, t, env.GOROOT, commands, file)
}

// baseKey gives the name in the cache for what compiler makes of commands. Modules
// replaced by a directory, or by a workspace, are looked at only when the base is
// built: remove the cache after a change there.
func baseKey(e gobuild.Env, compiler string, commands []string) (string, error) {
	h := sha256.New()
	same := e
	same.GOROOT, same.GOMOD, same.GOWORK = "", "", "" // places, which say nothing of what is there
	fmt.Fprintln(h, layout, compiler, tags, same, gobuild.Flags, commands)
	files := []string{e.GOMOD, filepath.Join(filepath.Dir(e.GOMOD), "go.sum")}
	if filepath.IsAbs(e.GOWORK) { // and not "off"
		files = append(files, e.GOWORK)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return "", inputErrorf("%w", err)
		}
		fmt.Fprintf(h, "%d\n%s", len(b), b)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

// checkCommands has the go command say what is wrong with the list, as gobusybox
// skips what it can't use, and fetches the modules.
func checkCommands(ctx context.Context, t *gobuild.Toolchain, commands []string) error {
	pkgs, err := t.List(ctx, commands)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	for _, p := range pkgs {
		switch {
		case p.Name != "main":
			return inputErrorf("%s is no command: it is package %s", p.ImportPath, p.Name)
		case p.Module.Path == "":
			return inputErrorf("%s is of the standard library: gobusybox cannot merge it", p.ImportPath)
		case p.Module.Main:
			return inputErrorf("%s is of this module: it belongs in Programs", p.ImportPath)
		}
	}
	return nil
}

// compileCommands compiles commands into one executable in src.
func compileCommands(ctx context.Context, t *gobuild.Toolchain, goroot string, commands []string, src string) (
	exe string, err error) {
	if err := checkCommands(ctx, t, commands); err != nil {
		return "", err
	}
	var log bytes.Buffer
	err = bb.BuildBusybox(llog.New(slog.LevelInfo, llog.WritePrintf(&log)).AtLevel(slog.LevelInfo), &bb.Opts{
		Env: golang.Default(
			golang.DisableCGO(),
			golang.WithGOOS("linux"),
			golang.WithGOARCH(t.GOARCH),
			golang.WithGOROOT(goroot),
			golang.WithGO111MODULE("on"),
			golang.WithWorkingDir(t.Dir),
			golang.WithBuildTag(tags),
		),
		LookupEnv:    &findpkg.Env{}, // not the user's GBB_PATH and UROOT_SOURCE
		GenSrcDir:    src,
		CommandPaths: commands,
		// Its own build knows no context, and compiles the standard library
		// each time.
		GenerateOnly: true,
	})
	if err != nil {
		return "", fmt.Errorf("initramfs: merging the commands for linux/%s: %w\n%s", t.GOARCH, err, &log)
	}
	exe = filepath.Join(src, "bb")
	compiler := *t
	compiler.Dir = filepath.Join(src, "src/bb.u-root.com/bb")
	args := slices.Concat([]string{"build", "-tags=" + tags, "-o", exe}, gobuild.Flags, []string{"."})
	if err := compiler.Build(ctx, []string{"GO111MODULE=off", "GOPATH=" + src}, args...); err != nil {
		return "", fmt.Errorf("initramfs: compiling the commands: %w", err)
	}
	return exe, nil
}

// buildBase archives at file the directories that an image has, and commands as
// one executable with a link each.
func buildBase(ctx context.Context, t *gobuild.Toolchain, goroot string, commands []string, file string) error {
	tmp, err := t.Cache("tmp")
	if err != nil {
		return inputErrorf("%w", err)
	}
	src, err := os.MkdirTemp(tmp, "bb-")
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	defer os.RemoveAll(src)

	records := slices.Clone(tree)
	if len(commands) > 0 {
		exe, err := compileCommands(ctx, t, goroot, commands, src)
		if err != nil {
			return err
		}
		r, err := record("bbin/bb", File{Host: exe})
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	for _, c := range commands {
		name := path.Base(c)
		records = append(records, cpio.Symlink("bbin/"+name, "bb"))
		switch name {
		case "init":
			records = append(records, cpio.Symlink("init", "bbin/init"))
		case "gosh":
			records = append(records,
				cpio.Symlink("bin/sh", "../bbin/gosh"),
				cpio.Symlink("bin/defaultsh", "../bbin/gosh")) // where u-root's init looks
		}
	}

	out, err := createTemp(file)
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	defer out.discard()
	if err := writeArchive(out, records, baseLevel); err != nil {
		return fmt.Errorf("initramfs: writing the base for %s: %w", t.GOARCH, err)
	}
	if _, err := out.commit(); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return nil
}
