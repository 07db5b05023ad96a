package nommu

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// refused are flags of the go command that have no meaning for this target, with
// the reason. The first are switches, and may be there if they are off.
var (
	refusedBool = map[string]string{
		"race":       "the race detector needs cgo and virtual memory",
		"msan":       "it needs cgo and virtual memory",
		"asan":       "it needs cgo and virtual memory",
		"linkshared": "the kernel loads no shared libraries",
		"n":          "nothing would be linked",
	}
	refusedValue = map[string]string{
		"compiler": "only Go's own compiler is known",
		"overlay":  "gonommu has one of its own",
		"toolexec": "gonommu has one of its own",
		"pkgdir":   "packages for this target differ from others",
	}
)

// linkerRefused are flags of the linker that gonommu sets, or that no program for
// this target can have.
var linkerRefused = []string{"linkmode", "extld", "extldflags", "T", "R", "D", "E", "H", "I", "r", "linkshared", "race", "msan", "asan", "shared", "o", "V", "buildmode"}

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
	for name := range refusedBool {
		set.BoolFunc(name, "", func(value string) error {
			mistake = checkFlag(name, value)
			return mistake
		})
	}
	for _, name := range boolFlags {
		set.BoolFunc(name, "", func(string) error { return nil })
	}
	for _, name := range slices.AppendSeq(slices.Clone(valueFlags), maps.Keys(refusedValue)) {
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

// checkGoflags checks the flags that the go command takes from its environment,
// or from what go env -w has written. It reads them as that does.
func checkGoflags(goflags string) error {
	flags, err := splitQuoted(goflags)
	if err != nil {
		return inputErrorf("in GOFLAGS: %w", err)
	}
	for _, f := range flags {
		name, value, given := strings.Cut(f, "=")
		dashes := len(name) - len(strings.TrimLeft(name, "-"))
		if name = name[dashes:]; dashes < 1 || dashes > 2 || name == "" {
			return inputErrorf("in GOFLAGS: %q is not a flag", f)
		}
		if !given {
			value = "true"
		}
		if err := checkFlag(name, value); err != nil {
			return inputErrorf("in GOFLAGS: %s", strings.TrimPrefix(err.Error(), "nommu: "))
		}
	}
	return nil
}

// splitQuoted splits a list of flags as the go command does it in GOFLAGS and
// -ldflags: at spaces, but for fields that begin with a quote and go to the
// next. There is no other quoting, and no escaping.
func splitQuoted(s string) (fields []string, err error) {
	const spaces = " \t\n\r"
	for {
		if s = strings.TrimLeft(s, spaces); s == "" {
			return fields, nil
		}
		var f string
		if quote := s[:1]; quote == "'" || quote == `"` {
			var closed bool
			if f, s, closed = strings.Cut(s[1:], quote); !closed {
				return nil, fmt.Errorf("a %s is not closed", quote)
			}
		} else {
			end := strings.IndexAny(s, spaces)
			if end < 0 {
				end = len(s)
			}
			f, s = s[:end], s[end:]
		}
		fields = append(fields, f)
	}
}

func checkFlag(name, value string) error {
	const refused = "-%s is not for this target: %s"
	if why, ok := refusedBool[name]; ok {
		if on, err := strconv.ParseBool(value); err != nil || on {
			return inputErrorf(refused, name, why)
		}
	}
	if why, ok := refusedValue[name]; ok && (name != "compiler" || value != "gc") {
		return inputErrorf(refused, name, why)
	}
	switch name {
	case "buildmode":
		if value != "exe" && value != "default" {
			return inputErrorf("-buildmode=%s is not for this target: the kernel loads nothing but whole programs", value)
		}
	case "ldflags":
		return checkLdflags(value)
	}
	return nil
}

func checkLdflags(value string) error {
	switch value = strings.TrimSpace(value); {
	case value == "" || value[0] == '-':
	case value[0] == '\'' || value[0] == '"':
		return inputErrorf("-ldflags=%s: it may not begin with a quote", value)
	default:
		_, value, _ = strings.Cut(value, "=") // for some packages only: pattern=flags
	}
	flags, err := splitQuoted(value)
	if err != nil {
		return inputErrorf("-ldflags: %w", err)
	}
	for _, f := range flags {
		name, _, _ := strings.Cut(strings.TrimLeft(f, "-"), "=")
		switch {
		case strings.HasPrefix(f, "@"):
			return inputErrorf("-ldflags=%s is not for this target: what flags the file has is not known", f)
		case strings.HasPrefix(f, "-") && slices.Contains(linkerRefused, name):
			return inputErrorf("-ldflags=-%s is not for this target: gonommu links without a C toolchain, at addresses of its own", name)
		}
	}
	return nil
}
