package nommu

import (
	"flag"
	"io"
	"slices"
	"strings"
)

// refused are flags of the go command that have no meaning for this target, with
// the reason.
var refused = map[string]string{
	"race":       "the race detector needs cgo and virtual memory",
	"msan":       "it needs cgo and virtual memory",
	"asan":       "it needs cgo and virtual memory",
	"linkshared": "the kernel loads no shared libraries",
	"compiler":   "only Go's own compiler is known",
	"overlay":    "gonommu has one of its own",
	"toolexec":   "gonommu has one of its own",
	"pkgdir":     "packages for this target differ from others",
	"n":          "nothing would be linked",
}

// linkerRefused are flags of the linker that gonommu sets, or that no program for
// this target can have.
var linkerRefused = []string{"linkmode", "extld", "extldflags", "T", "R", "D", "E", "H", "I", "r", "linkshared", "race", "msan", "asan", "shared"}

// boolFlags and valueFlags are the other flags of go build and go test -c.
var (
	boolFlags  = []string{"a", "cover", "modcacherw", "trimpath", "v", "work", "x", "json", "buildvcs"}
	valueFlags = []string{"o", "p", "covermode", "coverpkg", "asmflags", "gcflags", "gccgoflags", "installsuffix", "ldflags", "mod", "modfile", "pgo", "tags", "vet", "buildmode"}
)

// splitArgs checks arguments as go build takes them, and gives the flags, the
// directory of -C, which is not among them, and the packages.
func splitArgs(args []string) (flags []string, dir string, packages []string, err error) {
	set := flag.NewFlagSet("go", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	var mistake error // without what Parse puts before it
	for name := range refused {
		set.BoolFunc(name, "", func(value string) error {
			mistake = checkFlag(name, value)
			return mistake
		})
	}
	for _, name := range boolFlags {
		set.BoolFunc(name, "", func(string) error { return nil })
	}
	for _, name := range valueFlags {
		set.Func(name, "", func(value string) error {
			mistake = checkFlag(name, value)
			return mistake
		})
	}
	set.StringVar(&dir, "C", "", "")
	if err := set.Parse(args); err != nil {
		if mistake != nil {
			return nil, "", nil, mistake
		}
		return nil, "", nil, inputErrorf("%w", err)
	}
	n := len(args) - set.NArg()
	flags = args[:n:n]
	if dir != "" {
		// The go command wants it first.
		switch name, _, given := strings.Cut(strings.TrimLeft(flags[0], "-"), "="); {
		case name != "C":
			return nil, "", nil, inputErrorf("-C must be the first flag")
		case given:
			flags = flags[1:]
		default:
			flags = flags[2:]
		}
	}
	return flags, dir, set.Args(), nil
}

// checkGoflags checks the flags that the go command takes from its environment.
func checkGoflags(goflags string) error {
	for _, f := range strings.Fields(goflags) {
		name, value, given := strings.Cut(strings.TrimLeft(f, "-"), "=")
		if !given {
			value = "true"
		}
		if err := checkFlag(name, value); err != nil {
			return inputErrorf("in GOFLAGS: %s", strings.TrimPrefix(err.Error(), "nommu: "))
		}
	}
	return nil
}

func checkFlag(name, value string) error {
	if why, ok := refused[name]; ok && value != "false" {
		return inputErrorf("-%s is not for this target: %s", name, why)
	}
	switch name {
	case "buildmode":
		if value != "exe" && value != "default" {
			return inputErrorf("-buildmode=%s is not for this target: the kernel loads nothing but whole programs", value)
		}
	case "ldflags":
		// A value may be for some packages only: pattern=flags.
		for _, f := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(" \t\n'\"", r) }) {
			name, _, _ := strings.Cut(strings.TrimLeft(f, "-"), "=")
			if f[0] == '-' && slices.Contains(linkerRefused, name) {
				return inputErrorf("-ldflags=-%s is not for this target: gonommu links without a C toolchain, at addresses of its own", name)
			}
		}
	}
	return nil
}
