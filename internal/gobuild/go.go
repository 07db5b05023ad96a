package gobuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/internal/arch"
	"github.com/vspawn/vspawn/internal/gobuild/gocmd"
	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/nommu"
)

// Flags make a build small and reproducible: no paths of this machine, no version
// control state.
var Flags = slices.Concat(reproducible, []string{"-ldflags=-s -w"})

var reproducible = []string{"-trimpath", "-buildvcs=false"}

// Env is the part of `go env` that decides about what is built.
type Env struct {
	GOVERSION, GOROOT, GOMOD, GOWORK         string
	GOARCH, GOEXPERIMENT, GOFIPS140, GOFLAGS string

	Variable string // that the architecture has of its own, such as "GOARM64=v8.0"
}

// Env asks the go command for it.
func (t *Toolchain) Env(ctx context.Context) (*Env, error) {
	out, err := t.ask(ctx, "env", "-json")
	if err != nil {
		return nil, err
	}
	e := new(Env)
	if err := json.Unmarshal(out, e); err != nil {
		return nil, fmt.Errorf("output of go env: %w", err)
	}
	if name := arch.Of(e.GOARCH).Variable; name != "" {
		all := map[string]string{}
		if err := json.Unmarshal(out, &all); err != nil {
			return nil, fmt.Errorf("output of go env: %w", err)
		}
		e.Variable = name + "=" + all[name]
	}
	return e, nil
}

// A Package is what go list says of one, in its words.
type Package struct {
	ImportPath string
	Dir        string
	Name       string
	Module     struct {
		Path string
		Main bool
	}
	TestGoFiles  []string
	XTestGoFiles []string
}

func (p *Package) base() string { return p.ImportPath[strings.LastIndexByte(p.ImportPath, '/')+1:] }

// List lists packages, and has their modules fetched.
func (t *Toolchain) List(ctx context.Context, packages []string) ([]Package, error) {
	if len(packages) == 0 {
		return nil, usage.Errorf("no packages given")
	}
	args := append([]string{"list", "-json=ImportPath,Dir,Name,Module,TestGoFiles,XTestGoFiles", "--"}, packages...)
	out, err := t.ask(ctx, args...)
	if err != nil {
		return nil, err
	}
	var pkgs []Package
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p Package
		if err := d.Decode(&p); err != nil {
			return nil, fmt.Errorf("output of go list: %w", err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs, nil
}

// modules gives the path of the module that Dir is in, or of those of its workspace.
func (t *Toolchain) modules(ctx context.Context) ([]string, error) {
	out, err := t.ask(ctx, "list", "-m")
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(out)), nil
}

// ask runs a go command that only looks at what it was given, so that its failure
// is the caller's mistake, told in one line.
func (t *Toolchain) ask(ctx context.Context, args ...string) ([]byte, error) {
	out, err := t.run(ctx, nil, args...)
	if err == nil || ctx.Err() != nil {
		return out, err
	}
	return nil, usage.Errorf("%s", strings.Join(strings.Fields(err.Error()), " "))
}

// Build runs go build, or go test -c, for the guest in Dir. env is added to the
// environment.
func (t *Toolchain) Build(ctx context.Context, env []string, args ...string) error {
	if !t.NoMMU {
		_, err := t.run(ctx, env, args...)
		return err
	}
	tmp, err := t.Cache("tmp")
	if err != nil {
		return err
	}
	o := nommu.Options{Dir: t.Dir, Env: append([]string{"GOTMPDIR=" + tmp}, env...), MaxOrder: t.MaxOrder}
	o.Args, o.Test = args[1:], args[0] == "test"
	if o.Test {
		o.Args = args[2:] // without -c
	}
	return nommu.Build(ctx, o)
}

// run runs the go command for the guest in Dir and gives its standard output.
func (t *Toolchain) run(ctx context.Context, env []string, args ...string) ([]byte, error) {
	if t.GOARCH == "" {
		return nil, errors.New("no GOARCH given")
	}
	tmp, err := t.Cache("tmp")
	if err != nil {
		return nil, err
	}
	command := gocmd.Command{Program: "go", Dir: t.Dir}
	command.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+t.GOARCH, "CGO_ENABLED=0",
		// On the file system of the cache the go command renames a finished
		// executable into place; from elsewhere it copies, and an interrupt
		// would leave half of one.
		"GOTMPDIR="+tmp)
	command.Env = append(command.Env, env...)
	stdout, stderr, err := command.Run(ctx, args...)
	switch text := gocmd.Complaint(stderr); {
	case err == nil:
		return stdout, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("go %s: %w", args[0], ctx.Err())
	case text != "":
		err = errors.New(text)
	}
	return nil, fmt.Errorf("go %s for linux/%s: %w", args[0], t.GOARCH, err)
}
