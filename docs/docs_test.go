package docs

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/testkit/golden"
)

func parse(t *testing.T, name string) (file *ast.File, src string, fset *token.FileSet) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	fset = token.NewFileSet()
	if file, err = parser.ParseFile(fset, name, b, parser.ParseComments); err != nil {
		t.Fatal(err)
	}
	return file, string(b), fset
}

// attributes.md is what the code says.
func TestAttributes(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Attributes\n\n" +
		"Made from `vspawn/attr.go` and the list in `vspawn/attributes_linux.go` by\n" +
		"`go test ./docs -update`; to be changed there.\n\n" +
		"## What a child can be given\n\n" +
		"| field of `Attr` | what it is |\n|---|---|\n")
	groups := attrFields(t)
	for _, g := range groups {
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.Join(g.fields, "`, `"), g.sentence)
	}
	b.WriteString("\n## The order in which the child applies it\n\n| | field | with it | why there |\n|---|---|---|---|\n")
	list := attributeList(t)
	for i, a := range list {
		with := ""
		if len(a.with) > 0 {
			with = "`" + strings.Join(a.with, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| %d | `%s` | %s | %s |\n", i+1, a.field, with, a.why)
	}
	b.WriteString("\n`Env` is an argument of the `execve` that ends the list, and `ExecFD` of the\n" +
		"`execveat` in its place. `Files`, `Rlimits` and `OOMScoreAdj` have a part with a\n" +
		"place of its own: files that are opened by `Path`, `RLIMIT_NOFILE`, and a value\n" +
		"above the parent's. `Syscalls` go before the field that each names.\n")
	checkPlaces(t, groups, list)

	golden.Check(t, "attributes.md", b.String())
}

// checkPlaces checks that each field of Attr has one place in the list.
func checkPlaces(t *testing.T, groups []fieldGroup, list []attribute) {
	t.Helper()
	places := map[string]int{"Env": 1, "ExecFD": 1, "Syscalls": 1} // not of the list
	for _, a := range list {
		if field, _, part := strings.Cut(a.field, "."); !part {
			places[field]++
		}
		for _, f := range a.with {
			places[f]++
		}
	}
	for _, g := range groups {
		for _, f := range g.fields {
			if places[f] != 1 {
				t.Errorf("Attr.%s has %d places in vspawn/attributes_linux.go: it is to have a row of its own, or to be said to go with another", f, places[f])
			}
			delete(places, f)
		}
	}
	for f := range places {
		t.Errorf("%s in vspawn/attributes_linux.go is no field of Attr", f)
	}
}

// Attr's comment has the order of the list.
func TestOrderInDocument(t *testing.T) {
	file, _, _ := parse(t, "../vspawn/attr.go")
	decl := find[*ast.GenDecl](t, file, func(d *ast.GenDecl) bool {
		s, ok := d.Specs[0].(*ast.TypeSpec)
		return ok && s.Name.Name == "Attr"
	})
	var block []string
	for line := range strings.Lines(decl.Doc.Text()) {
		if line[0] == '\t' {
			block = append(block, strings.TrimSpace(line))
		}
	}
	var want []string
	for _, a := range attributeList(t) {
		want = append(want, a.field)
	}
	if got, want := strings.Join(block, " "), strings.Join(want, ", "); got != want {
		t.Errorf("the comment of Attr in vspawn/attr.go has the order\n%s\nit is\n%s", got, want)
	}
}

// fieldGroup are fields of Attr under one comment, and its first sentence.
type fieldGroup struct {
	fields   []string
	sentence string
}

func attrFields(t *testing.T) (groups []fieldGroup) {
	t.Helper()
	file, _, _ := parse(t, "../vspawn/attr.go")
	attr := find[*ast.TypeSpec](t, file, func(s *ast.TypeSpec) bool { return s.Name.Name == "Attr" })
	for _, f := range attr.Type.(*ast.StructType).Fields.List {
		if f.Doc != nil {
			text := strings.ReplaceAll(f.Doc.Text(), "\n", " ")
			groups = append(groups, fieldGroup{sentence: strings.ReplaceAll(new(doc.Package).Synopsis(text), "|", `\|`)})
		}
		g := &groups[len(groups)-1]
		for _, name := range f.Names {
			g.fields = append(g.fields, name.Name)
		}
	}
	return groups
}

// find returns the first node of a kind that is the wanted one.
func find[N ast.Node](t *testing.T, file *ast.File, wanted func(N) bool) (found N) {
	t.Helper()
	ok := false
	ast.Inspect(file, func(n ast.Node) bool {
		if m, is := n.(N); is && !ok && wanted(m) {
			found, ok = m, true
		}
		return !ok
	})
	if !ok {
		t.Fatalf("no such %T", found)
	}
	return found
}

// attribute is a row of vspawn's list.
type attribute struct {
	field string
	with  []string
	why   string
}

func attributeList(t *testing.T) (list []attribute) {
	t.Helper()
	file, _, _ := parse(t, "../vspawn/attributes_linux.go")
	spec := find[*ast.ValueSpec](t, file, func(s *ast.ValueSpec) bool { return s.Names[0].Name == "attributes" })
	text := func(e ast.Expr) string {
		s, err := strconv.Unquote(e.(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, e := range spec.Values[0].(*ast.CompositeLit).Elts {
		row := e.(*ast.CompositeLit).Elts
		a := attribute{field: text(row[0]), why: text(row[2])}
		if with, ok := row[1].(*ast.CompositeLit); ok {
			for _, f := range with.Elts {
				a.with = append(a.with, text(f))
			}
		}
		list = append(list, a)
	}
	return list
}

// The README's first example is the body of vspawn's Example.
func TestReadmeExample(t *testing.T) {
	file, src, fset := parse(t, "../vspawn/example_test.go")
	body := find[*ast.FuncDecl](t, file, func(f *ast.FuncDecl) bool { return f.Name.Name == "Example" }).Body
	inside := src[fset.Position(body.Lbrace).Offset+2 : fset.Position(body.Rbrace).Offset]
	want := strings.ReplaceAll("\n"+inside, "\n\t", "\n")[1:]
	readme := read(t, "../README.md")
	_, rest, _ := strings.Cut(readme, "```go\n")
	got, _, found := strings.Cut(rest, "```")
	if !found || got != want {
		t.Errorf("the README shows\n%s\nvspawn/example_test.go has\n%s", got, want)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	link   = regexp.MustCompile(`\]\(([^)#:]+)\)`)
	inCode = regexp.MustCompile("`([a-zA-Z0-9_./-]+/[a-zA-Z0-9_./-]*)`")
)

// Links lead somewhere, and so do names of files and folders in the module.
func TestPaths(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	for _, page := range append(pages, "../README.md", "../CONTRIBUTING.md") {
		text := read(t, page)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
		for _, m := range inCode.FindAllStringSubmatch(text, -1) {
			name := m[1]
			first, _, _ := strings.Cut(name, "/")
			if _, err := os.Stat("../" + first); first == "" || first == "build" || err != nil {
				continue // not of the module
			}
			if _, err := os.Stat("../" + name); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
