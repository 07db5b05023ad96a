package nommu

import (
	"slices"
	"strings"
	"testing"
)

func TestSplitArgs(t *testing.T) {
	for _, c := range []struct {
		args     string
		packages int
		err      string
	}{
		{"", 0, ""},
		{"./...", 1, ""},
		{"-o out -tags a,b -trimpath ./a ./b", 2, ""},
		{"-tags=a --trimpath -v -x -a -mod=mod .", 1, ""},
		{"-ldflags=-s|-w|-X|main.v=-race .", 1, ""},
		{"-gcflags=all=-l .", 1, ""},
		{"-tags -race .", 1, ""},
		{"-race=false .", 1, ""},
		{"-buildmode=exe .", 1, ""},
		{"-race .", 0, "-race is not for this target"},
		{"-asan=true .", 0, "-asan is not"},
		{"-buildmode=plugin .", 0, "-buildmode=plugin is not"},
		{"-buildmode pie .", 0, "-buildmode=pie is not"},
		{"-overlay x.json .", 0, "-overlay is not"},
		{"-toolexec=x .", 0, "-toolexec is not"},
		{"-ldflags=-linkmode=external .", 0, "-linkmode is not"},
		{"-ldflags=all=-s|-T|0x1000 .", 0, "-T is not"},
		{"-ldflags=-s -ldflags=-E|main .", 0, "-E is not"},
		{"-compiler=gc -n=0 -asan=F .", 1, ""},
		{"-compiler=gccgo .", 0, "-compiler is not"},
		{"-n=1 .", 0, "-n is not"},
		{"-overlay=false .", 0, "-overlay is not"},
		{"-toolexec=false .", 0, "-toolexec is not"},
		{"-pkgdir=false .", 0, "-pkgdir is not"},
		{"-ldflags=-X|'main.v=a|-race|b'|-s .", 1, ""},
		{"-ldflags=all='-linkmode=external' .", 0, "-linkmode is not"},
		{"-ldflags='-s'|-w .", 0, "begin with a quote"},
		{"-ldflags=-s|'-w .", 0, "-ldflags: a ' is not closed"},
		{"-ldflags=-o=x .", 0, "-o is not"},
		{"-ldflags=-V .", 0, "-V is not"},
		{"-ldflags=-buildmode=pie .", 0, "-buildmode is not"},
		{"-ldflags=-s|@file .", 0, "@file is not"},
		{"-unknown .", 0, "-unknown"},
		{"-o", 0, "-o"},
		{"-tags x -C dir .", 0, "-C must be the first"},
	} {
		args := strings.Fields(c.args)
		for i, a := range args {
			args[i] = strings.ReplaceAll(a, "|", " ")
		}
		flags, _, packages, err := splitArgs(args)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: got %v, want one line with %q", c.args, err, c.err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.args, err)
		case len(packages) != c.packages || !slices.Equal(slices.Concat(flags, packages), args):
			t.Errorf("%s: flags %q, packages %q", c.args, flags, packages)
		}
	}
}

func TestSplitArgsDir(t *testing.T) {
	for _, args := range [][]string{{"-C", "sub", "-v", "."}, {"-C=sub", "-v", "."}} {
		flags, dir, packages, err := splitArgs(args)
		if err != nil || !slices.Equal(flags, []string{"-v"}) || dir != "sub" || !slices.Equal(packages, []string{"."}) {
			t.Errorf("%q: got %q, %q, %q, %v", args, flags, dir, packages, err)
		}
	}
}

func TestGoflags(t *testing.T) {
	for goflags, want := range map[string]string{
		"":                              "",
		"-buildvcs=false -mod=mod -vet": "",
		"-tags=a -race":                 "in GOFLAGS: -race is not for this target",
		"-ldflags=-linkmode=external":   "-linkmode is not",
		"'-n'":                          "in GOFLAGS: -n is not",
		` "-n" `:                        "in GOFLAGS: -n is not",
		"'-buildmode=pie'":              "-buildmode=pie is not",
		"-v '--n'":                      "-n is not",
		"'-v''-n'":                      "-n is not",
		"-v\t-n\r\n":                    "-n is not",
		"-v\v-n":                        "", // no space, to the go command
		"'-tags=a -n'":                  "",
		`'-ldflags=-s -T 1'`:            "-T is not",
		`"-ldflags=-X 'a.b=-s -T'"`:     "",
		"-overlay=false":                "-overlay is not",
		"-pkgdir=false":                 "-pkgdir is not",
		"-n=1":                          "-n is not",
		"-n=F":                          "",
		"'-v":                           "in GOFLAGS: a ' is not closed",
		"a":                             `in GOFLAGS: "a" is not a flag`,
		"---n":                          `"---n" is not a flag`,
		"-=n":                           `"-=n" is not a flag`,
	} {
		err := checkGoflags(goflags)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", goflags, err, want)
		}
	}
}
