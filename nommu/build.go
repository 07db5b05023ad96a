package nommu

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vspawn/vspawn/internal/gobuild/gocmd"
	"github.com/vspawn/vspawn/internal/usage"
)

// DefaultStack is the size of the first thread's stack, in bytes. Go's part of it
// is 32 KiB. Arguments and environment, of which the kernel takes 128 KiB at most,
// are above that.
const DefaultStack = 176 << 10

// minStack holds Go's part, and arguments of a few pages.
const minStack = 64 << 10

// DefaultMaxOrder is the kernel's own, for blocks of up to 4 MiB.
const DefaultMaxOrder = 10

// Options say what to build.
type Options struct {
	// Args are flags and packages as go build takes them, or go test -c if
	// Test is set: -o, -tags, -ldflags and others. Flags that mean nothing for
	// this target, such as -race, are refused.
	Args []string
	// Test builds test binaries.
	Test bool
	// Dir is the directory to run the go command in; the working directory if
	// empty.
	Dir string
	// Env is added to the environment of the go command, but for GOOS, GOARCH,
	// CGO_ENABLED and GO_EXTLINK_ENABLED, which are set already.
	Env []string
	// Stack is the size of the first thread's stack in bytes; DefaultStack if
	// 0.
	Stack uint64
	// MaxOrder is the kernel's MAX_PAGE_ORDER, which limits what a program may
	// span to 4 KiB shifted left by it; DefaultMaxOrder if 0.
	MaxOrder int
	// Stderr gets what the go command says of a build that succeeds; nil drops
	// it. What it says of one that fails is in the error.
	Stderr io.Writer
}

// Build builds programs for a riscv64 kernel without an MMU, and leaves them where
// go build would. The go command is the one in PATH. It keeps no file of a
// program that can't be made.
func Build(ctx context.Context, o Options) error {
	if o.Stack == 0 {
		o.Stack = DefaultStack
	}
	if o.MaxOrder == 0 {
		o.MaxOrder = DefaultMaxOrder
	}
	if o.Stack < minStack || o.Stack > largestSpan {
		return inputErrorf("a stack of %d bytes: it must be %d at least, and less than 4 GiB", o.Stack, minStack)
	}
	if o.MaxOrder < 0 || o.MaxOrder > 20 {
		return inputErrorf("a MAX_PAGE_ORDER of %d: it must be between 1 and 20", o.MaxOrder)
	}
	flags, dir, packages, err := splitArgs(o.Args)
	if err != nil {
		return err
	}
	env := slices.Concat(os.Environ(), o.Env)
	if lookup(env, "CGO_ENABLED") == "1" {
		return inputErrorf("CGO_ENABLED=1 is set, and cgo is not for this target: it needs a C library that is made for it")
	}
	// GO_EXTLINK_ENABLED=1 would have the linker run a C toolchain.
	env = append(env, "GOOS=linux", "GOARCH=riscv64", "CGO_ENABLED=0", "GO_EXTLINK_ENABLED=0")

	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("nommu: %w", err)
	}
	if dir != "" && !filepath.IsAbs(dir) {
		dir = filepath.Join(o.Dir, dir)
	}
	if dir == "" {
		dir = o.Dir
	}
	g := goCommand{gocmd.Command{Program: "go", Dir: dir, Env: env}}
	goroot, minor, err := g.release(ctx)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "nommu-")
	if err != nil {
		return fmt.Errorf("nommu: %w", err)
	}
	defer os.RemoveAll(tmp)
	overlay, err := writeOverlay(tmp, goroot, minor)
	if err != nil {
		return err
	}
	l := linking{stack: o.Stack, maxOrder: o.MaxOrder, dir: tmp}
	toolexec, err := quote(append([]string{exe, toolexecArg}, l.args()...))
	if err != nil {
		return err
	}

	command := []string{"build"}
	if o.Test {
		command = []string{"test", "-c"}
	}
	command = slices.Concat(command, []string{"-overlay=" + overlay, "-toolexec=" + toolexec}, flags, packages)
	stdout, stderr, err := g.Run(ctx, command...)
	stderr = append(stderr, stdout...) // with -json all is there
	switch text, readErr := os.ReadFile(filepath.Join(tmp, mistake)); {
	case err == nil:
		if o.Stderr != nil {
			o.Stderr.Write(stderr)
		}
		return nil
	case readErr == nil:
		return usage.Errorf("%s", text)
	case ctx.Err() != nil:
		return fmt.Errorf("nommu: %w", ctx.Err())
	}
	if err := g.usesCgo(ctx, string(stderr)); err != nil {
		return err
	}
	return fmt.Errorf("nommu: go %s: %w\n%s", command[0], err, bytes.TrimSpace(stderr))
}

func lookup(env []string, name string) (value string) {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value = v
		}
	}
	return value
}

// quote joins arguments as the go command splits them.
func quote(args []string) (string, error) {
	quoted := make([]string, len(args))
	for i, a := range args {
		switch {
		case !strings.ContainsAny(a, " \t\r\n'\""):
			quoted[i] = a
		case !strings.Contains(a, "'"):
			quoted[i] = "'" + a + "'"
		case !strings.Contains(a, `"`):
			quoted[i] = `"` + a + `"`
		default:
			return "", inputErrorf("the path %s has both kinds of quotes, and can't be passed on", a)
		}
	}
	return strings.Join(quoted, " "), nil
}

type goCommand struct{ gocmd.Command }

// The minor releases of Go 1 whose runtime the edits are for.
const (
	oldestMinor = 25
	newestMinor = 26
)

// release gives where the standard library is, and which Go 1 it is of. The go
// command that answers is the one that is run from then on. What else decides
// about the build is checked too as the go command knows it, from its environment
// or from the file of go env -w.
func (g *goCommand) release(ctx context.Context) (goroot string, minor int, err error) {
	out, stderr, err := g.Run(ctx, "env", "-json", "GOROOT", "GOVERSION", "GOMODCACHE", "GOFLAGS", "GOFIPS140")
	if err != nil {
		return "", 0, fmt.Errorf("nommu: go env: %w %s", err, bytes.TrimSpace(stderr))
	}
	var env struct{ GOROOT, GOVERSION, GOMODCACHE, GOFLAGS, GOFIPS140 string }
	if err := json.Unmarshal(out, &env); err != nil {
		return "", 0, fmt.Errorf("nommu: output of go env: %w", err)
	}
	if err := checkGoflags(env.GOFLAGS); err != nil {
		return "", 0, err
	}
	if f := env.GOFIPS140; f != "" && f != "off" {
		return "", 0, inputErrorf("GOFIPS140=%s is set, and FIPS 140-3 mode is not for this target: its packages are not to be edited", f)
	}
	rest, ok := strings.CutPrefix(env.GOVERSION, "go1.")
	digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	minor, err = strconv.Atoi(digits)
	if !ok || err != nil || minor < oldestMinor || minor > newestMinor {
		return "", 0, inputErrorf("the go command is %s: the edits of the runtime are known for Go 1.%d to 1.%d (GOTOOLCHAIN chooses another)", env.GOVERSION, oldestMinor, newestMinor)
	}
	if rel, err := filepath.Rel(env.GOMODCACHE, env.GOROOT); err == nil && filepath.IsLocal(rel) {
		// A release that the go command has downloaded. It wants no overlay of
		// files that it goes by that name.
		env.GOROOT = filepath.Join("/proc/self/root", env.GOROOT)
		g.Program = filepath.Join(env.GOROOT, "bin/go")
		g.Env = append(g.Env, "GOROOT="+env.GOROOT, "GOTOOLCHAIN=local")
	}
	return env.GOROOT, minor, nil
}

// usesCgo gives an error if a package that the go command complains about uses
// cgo.
func (g *goCommand) usesCgo(ctx context.Context, complaint string) error {
	var packages []string
	for line := range strings.Lines(complaint) {
		if p, ok := strings.CutPrefix(line, "# "); ok {
			p, _, _ = strings.Cut(strings.TrimSpace(p), " ")
			packages = append(packages, p)
		}
		if _, p, ok := strings.Cut(line, "build constraints exclude all Go files in "); ok {
			packages = append(packages, strings.TrimSpace(p))
		}
	}
	if len(packages) == 0 {
		return nil
	}
	list := *g
	list.Env = append(slices.Clone(g.Env), "CGO_ENABLED=1")
	out, _, _ := list.Run(ctx, append([]string{"list", "-e", "-f", "{{with .CgoFiles}}{{$.ImportPath}} ({{index . 0}}){{end}}", "--"}, packages...)...)
	if cgo := strings.Fields(string(out)); len(cgo) > 0 {
		return inputErrorf("cgo is not for this target, and this uses it: %s", strings.Join(cgo, " "))
	}
	return nil
}
