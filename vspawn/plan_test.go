//go:build linux

package vspawn

import (
	"errors"
	"strings"
	"testing"
)

// A plan for another program prints, starts and fails as if it had been
// compiled for it.
func TestFor(t *testing.T) {
	attr := &Attr{Umask: Ptr(0o77), Env: []string{"A=1"}}
	plan, err := Compile("/nowhere", nil, attr)
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 100_000) // takes a second block of memory
	for _, env := range [][]string{{}, {"A=2", "B="}, {big}, nil} {
		argv := exits(t, 3)
		other, err := plan.For(argv[0], argv, env)
		if err != nil {
			t.Fatal(err)
		}
		attr.Env = env
		want, err := Compile(argv[0], argv, attr)
		if err != nil {
			t.Fatal(err)
		}
		if other.String() != want.String() {
			t.Errorf("got\n%swant\n%s", other, want)
		}
		p, err := other.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s, err := p.Wait(t.Context()); err != nil || s.ExitCode() != 3 {
			t.Error(s, err)
		}
	}
	other, err := plan.For("/not/here", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := other.Start(t.Context()); !errors.As(err, &e) || e.Object != "/not/here" {
		t.Errorf("got %v", err)
	}
	for _, c := range []struct {
		path      string
		argv, env []string
	}{{path: ""}, {path: "/a\x00"}, {path: "/", argv: []string{}}, {path: "/", argv: []string{"\x00"}}, {path: "/", env: []string{"\x00"}}} {
		var e *AttrError
		if _, err := plan.For(c.path, c.argv, c.env); !errors.As(err, &e) {
			t.Errorf("For(%q): got %v", c, err)
		}
	}
}
