package layers

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Imports are in three groups, each if there is any: the standard library, others, our own.
func TestImportGroups(t *testing.T) {
	err := eachFile(os.DirFS("../.."), func(name string, src []byte) error {
		if c := checkImports(t, name, string(src)); c != "" {
			t.Error(c)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkImports(t *testing.T, name, src string) (complaint string) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(src, "\n")
	group, last := 0, 0
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		g := 1
		switch {
		case imported == "C": // which stands behind its own text
			continue
		case imported == module || strings.HasPrefix(imported, module+"/"):
			g = 2
		case match("std", imported):
			g = 0
		}
		line := fset.Position(spec.Pos()).Line
		if last > 0 {
			apart := false
			for _, between := range lines[last : line-1] {
				apart = apart || strings.TrimSpace(between) == ""
			}
			if g < group || (g > group) != apart {
				return name + ": " + imported + " is not in its group of imports: " +
					"the standard library, others, our own, with a blank line between"
			}
		}
		group, last = g, line
	}
	return ""
}

func TestImportGroupsTold(t *testing.T) {
	for text, well := range map[string]bool{
		"\"os\"\n\n\"golang.org/x/y\"\n\n\"" + module + "/asm\"": true,
		"\"os\"\n// why\n_ \"unsafe\"":                           true,
		"\"os\"\n\"golang.org/x/y\"":                             false,
		"\"os\"\n\n\"fmt\"":                                      false,
		"\"golang.org/x/y\"\n\n\"os\"":                           false,
		"\"golang.org/x/y\"\n\"" + module + "/asm\"":             false,
	} {
		got := checkImports(t, "x.go", "package p\n\nimport (\n"+text+"\n)\n")
		if (got == "") != well {
			t.Errorf("%s\ngot %q", text, got)
		}
	}
}
