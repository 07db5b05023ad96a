//go:build linux

package main

import (
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/vspawn"
)

// A request is what the flags ask for.
type request struct {
	attr     vspawn.Attr
	env      []string
	clearEnv bool
	argv0    string
	argv     []string

	given  []string   // the flags themselves
	closed []int      // descriptors that the child is not to have
	opened []*os.File // until the child has started
}

func parse(args []string) (*request, error) {
	r := &request{}
	fs := flag.NewFlagSet("vspawn", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // its errors come with the whole usage
	for _, o := range options {
		set := func(value string) error {
			r.given = append(r.given, o.name)
			return o.set(r, value)
		}
		if o.value == "" {
			fs.BoolFunc(o.name, o.help, set)
		} else {
			fs.Func(o.name, o.help, set)
		}
	}
	err := fs.Parse(args)
	switch {
	case err == flag.ErrHelp:
	case err != nil:
		err = usage.Errorf("%w", err)
	case fs.NArg() == 0:
		err = usage.Errorf("no program")
	}
	r.argv = fs.Args()
	return r, err
}

// compile makes the plan.
func (r *request) compile() (*vspawn.Plan, error) {
	a := &r.attr
	path, err := r.find()
	if err != nil {
		return nil, err
	}
	argv := slices.Clone(r.argv)
	if r.argv0 != "" {
		argv[0] = r.argv0
	}
	a.Env = r.environ()
	if (a.ControllingTTY || a.Foreground) && a.TTY == nil {
		a.TTY = vspawn.FD(0)
	}
	if a.InheritFiles && len(r.closed) > 0 {
		return nil, usage.Errorf("-fd: %d=- contradicts -inherit: want -close", r.closed[0])
	}
	plan, err := vspawn.Compile(path, argv, a)
	return plan, r.inFlags(err)
}

// find is the program's path. One with a slash is the child's to find, from
// its own directory and root.
func (r *request) find() (string, error) {
	name := r.argv[0]
	switch {
	case r.attr.ExecFD != nil:
		return "", nil
	case name == "":
		return "", usage.Errorf("the program's name is empty")
	case strings.Contains(name, "/"):
		return name, nil
	case r.attr.Chroot != "" || r.attr.PivotRoot != "":
		return "", usage.Errorf("-%s: PATH is not searched in another root: give %s with its directory",
			r.flag("Chroot", "PivotRoot"), name)
	}
	return exec.LookPath(name)
}

// environ is the child's environment. A variable is there once, with its last
// value.
func (r *request) environ() []string {
	env := []string{}
	if !r.clearEnv {
		env = os.Environ()
	}
	for _, v := range r.env {
		key := v[:strings.IndexByte(v, '=')+1]
		env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, key) })
		env = append(env, v)
	}
	return env
}

// inFlags names the flag where an error of Compile's names a field of Attr.
func (r *request) inFlags(err error) error {
	var a *vspawn.AttrError
	if !errors.As(err, &a) {
		return err
	}
	field, _, _ := strings.Cut(a.Field, "[")
	field, _, _ = strings.Cut(field, ".")
	name := r.flag(field)
	if name == "" {
		return err
	}
	return &vspawn.AttrError{Field: "-" + name, Reason: a.Reason}
}

// flag names the flag for one of the fields: one that was given, if there is a
// choice.
func (r *request) flag(fields ...string) (name string) {
	for _, o := range options {
		if slices.Contains(fields, o.field) && (name == "" || slices.Contains(r.given, o.name)) {
			name = o.name
		}
	}
	return name
}
