package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// What is read as a whole: a file of the library, a function, a line.
const (
	maxFile    = 300 // lines
	maxFunc    = 80  // lines
	maxColumns = 120
)

// sized are the folders, with all below them, that keep to it.
var sized = []string{"asm", "docs", "internal/layers", "nommu", "vspawn"}

// Files of the library, functions and lines stay short; lines of a table, or with a
// string, need not, nor need tests.
func TestSizes(t *testing.T) {
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || name == "build" || name != "." && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || !inSized(name):
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		checkSizes(t, name, src)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func inSized(name string) bool {
	return slices.ContainsFunc(sized, func(dir string) bool { return strings.HasPrefix(name, dir+"/") })
}

func inLibrary(name string) bool {
	return strings.HasPrefix(name, "vspawn/") || path.Dir(name) == "asm"
}

func checkSizes(t *testing.T, name string, src []byte) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(src), "\n"), "\n")
	if inLibrary(name) && len(lines) > maxFile {
		t.Errorf("%s has %d lines, and %d are the most", name, len(lines), maxFile)
	}
	mayBeLong := map[int]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil {
			return false
		}
		first, last := fset.Position(n.Pos()).Line, fset.Position(n.End()).Line
		switch n := n.(type) {
		case *ast.FuncDecl:
			if long := last - first + 1; long > maxFunc {
				t.Errorf("%s:%d: %s has %d lines, and %d are the most", name, first, n.Name.Name, long, maxFunc)
			}
			return true
		case *ast.CompositeLit:
		case *ast.BasicLit:
			if n.Kind != token.STRING {
				return true
			}
		default:
			return true
		}
		for l := first; l <= last; l++ {
			mayBeLong[l] = true
		}
		return true
	})
	for i, line := range lines {
		if n := utf8.RuneCountInString(line); n > maxColumns && !mayBeLong[i+1] {
			t.Errorf("%s:%d: %d columns, and %d are the most", name, i+1, n, maxColumns)
		}
	}
}
