//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// A person's arguments come last: of two alike the last holds.
func TestTestArgs(t *testing.T) {
	b := wire.Binary{Path: "/tests/x/x.test", Args: []string{"-test.short"}}
	for _, x := range []struct {
		run  string
		own  []string
		want string
	}{
		{"", nil, "/tests/x/x.test -test.v -test.timeout=0 -test.short"},
		{"^TestX$", nil, "/tests/x/x.test -test.v -test.timeout=0 -test.run=^TestX$ -test.short"},
		{"^TestX$", []string{"-test.run", "Y"}, "/tests/x/x.test -test.v -test.timeout=0 -test.run=^TestX$ -test.short -test.run Y"},
	} {
		if got := strings.Join(testArgs(wire.Plan{Run: x.run}, b, x.own), " "); got != x.want {
			t.Errorf("%s", got)
		}
	}
}

// The first lines of the shell name each binary, and how it runs.
func TestWelcome(t *testing.T) {
	text := welcome(wire.Plan{Run: "^TestX$", Binaries: []wire.Binary{{Name: "asm"}, {Name: "asm[noinline]"}}})
	for _, want := range []string{"guest 'asm' -test.run '^TestX$'\n", "guest 'asm[noinline]' -test.run '^TestX$'\n"} {
		if !slices.Contains(strings.SplitAfter(strings.ReplaceAll(text, "    ", ""), "\n"), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
