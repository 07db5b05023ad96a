package layers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// What is read as a whole: a file, a function, a line.
const (
	maxFile    = 300 // lines
	maxFunc    = 80  // lines
	maxColumns = 120
)

// shortFiles are the folders, with all below them, whose files keep to maxFile.
var shortFiles = []string{"asm", "qemu", "tests", "vspawn"}

// Functions and lines stay short, tests' as well. The strings of a line don't count,
// and the rows of a table may be as long as they are.
func TestSizes(t *testing.T) {
	files := 0
	err := eachFile(os.DirFS("../.."), func(name string, src []byte) error {
		files++
		for _, c := range checkSizes(t, name, string(src)) {
			t.Error(c)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatal(files, "files;", err)
	}
}

func checkSizes(t *testing.T, name, src string) (complaints []string) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(src, "\n"), "\n")
	short := slices.ContainsFunc(shortFiles, func(dir string) bool { return strings.HasPrefix(name, dir+"/") })
	if short && len(lines) > maxFile {
		complaints = append(complaints, fmt.Sprintf("%s has %d lines, and %d are the most", name, len(lines), maxFile))
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.FuncDecl, *ast.FuncLit:
			first, last := fset.Position(n.Pos()).Line, fset.Position(n.End()).Line
			if long := last - first + 1; long > maxFunc {
				complaints = append(complaints,
					fmt.Sprintf("%s:%d: a function has %d lines, and %d are the most", name, first, long, maxFunc))
			}
		}
		return true
	})
	free := freeColumns(fset, file)
	for i, line := range lines {
		if n := utf8.RuneCountInString(line) - free[i+1]; n > maxColumns {
			complaints = append(complaints,
				fmt.Sprintf("%s:%d: %d columns without the strings, and %d are the most", name, i+1, n, maxColumns))
		}
	}
	return complaints
}

// freeColumns is how many columns of each line don't count. A table is a literal of
// several lines, or what a comment has indented; the functions in it are none of it.
// What an example puts out is a string.
func freeColumns(fset *token.FileSet, file *ast.File) map[int]int {
	const all = 1 << 20
	free := map[int]int{}
	ends := func(n ast.Node) (first, last int) { return fset.Position(n.Pos()).Line, fset.Position(n.End()).Line }
	severalLines := func(n ast.Node) bool { first, last := ends(n); return first != last }
	freeAll := func(n ast.Node) {
		first, last := ends(n)
		for l := first; l <= last; l++ {
			free[l] = all
		}
	}
	for _, c := range file.Comments {
		output := strings.HasPrefix(c.Text(), "Output:")
		for _, line := range c.List {
			if output || strings.HasPrefix(line.Text, "//\t") {
				freeAll(line)
			}
		}
	}
	// From the outside to the inside, in which the innermost has the last word.
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			if severalLines(n) {
				for _, row := range n.Elts {
					freeAll(row)
				}
			}
		case *ast.FuncLit:
			first, last := ends(n.Body)
			for l := first + 1; l < last; l++ {
				free[l] = 0
			}
		case *ast.BasicLit:
			switch {
			case n.Kind != token.STRING:
			case severalLines(n):
				freeAll(n)
			default:
				free[fset.Position(n.Pos()).Line] += utf8.RuneCountInString(n.Value)
			}
		}
		return true
	})
	return free
}

func TestSizesTold(t *testing.T) {
	const none = ""
	long := func(columns int) string { return "\t_ = " + strings.Repeat("a", columns-5) }
	inFunc := func(body string) string { return "func f() {\n" + body + "\n}\n" }
	for _, c := range []struct{ file, text, complaint string }{
		{"cmd/rig/x.go", inFunc(strings.Repeat("\n", 77)), none},
		{"cmd/rig/x.go", inFunc(strings.Repeat("\n", 78)), "x.go:2: a function has 81 lines"},
		{"cmd/rig/x_test.go", inFunc(strings.Repeat("\n", 78)), "x_test.go:2: a function has 81 lines"},
		{"docs/x.go", "var f = func() {\n" + strings.Repeat("\n", 79) + "}\n", "a function has 81 lines"},
		{"docs/x.go", inFunc(long(120)), none},
		{"docs/x.go", inFunc(long(121)), "x.go:3: 121 columns"},
		{"tests/x_test.go", inFunc(long(121)), "x_test.go:3: 121 columns"},
		{"docs/x.go", inFunc(long(118) + `+"` + strings.Repeat("s", 80) + `"`), none},
		{"docs/x.go", inFunc(long(120) + `+"s"`), "121 columns"},
		{"docs/x.go", inFunc(long(120) + "+`s\n" + strings.Repeat("s", 121) + "`"), none},
		{"docs/x.go", inFunc("\t_ = []int{" + strings.Repeat("1, ", 50) + "1}"), "columns"},
		{"docs/x.go", inFunc("\t_ = [][]int{\n{" + strings.Repeat("1, ", 50) + "1},\n}"), none},
		{"docs/x.go", inFunc("\t_ = []any{\nfunc() {\n" + long(121) + "\n},\n}"), "x.go:5: 121 columns"},
		{"docs/x.go", "// " + strings.Repeat("w", 118) + "\nvar x int\n", "121 columns"},
		{"docs/x.go", "//\t" + strings.Repeat("w", 118) + "\nvar x int\n", none},
		{"vspawn/x_test.go", "func ExampleX() {\n// Output:\n// " + strings.Repeat("w", 118) + "\n}\n", none},
		{"vspawn/x.go", strings.Repeat("\n", 299), none},
		{"vspawn/x_test.go", strings.Repeat("\n", 300), "has 301 lines"},
		{"cmd/rig/x.go", strings.Repeat("\n", 300), none},
	} {
		got := strings.Join(checkSizes(t, c.file, "package p\n"+c.text), "; ")
		if (c.complaint == none) != (got == "") || !strings.Contains(got, c.complaint) {
			t.Errorf("%s:\n%s\ngot %q, want %q", c.file, c.text, got, c.complaint)
		}
	}
}
