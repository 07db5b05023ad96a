package qemu

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"strings"
	"unicode"
	"unicode/utf8"
)

// sourceTests are the names of the tests in the files of a package, as its test
// binary lists them: by the rules of go help testfunc, and of go vet's tests.
func sourceTests(files []string) ([]string, error) {
	var names []string
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range files {
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, f)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && (isTest(fn, "Test", "T") || isTest(fn, "Fuzz", "F")) {
				names = append(names, fn.Name.Name)
			}
		}
	}
	for _, e := range doc.Examples(parsed...) {
		if e.Output != "" || e.EmptyOutput {
			names = append(names, "Example"+e.Name)
		}
	}
	return names, nil
}

// isTest tells whether fn is called like a test and takes a pointer to what is
// called param in package testing.
func isTest(fn *ast.FuncDecl, prefix, param string) bool {
	rest, ok := strings.CutPrefix(fn.Name.Name, prefix)
	if r, _ := utf8.DecodeRuneInString(rest); !ok || fn.Recv != nil || rest != "" && unicode.IsLower(r) {
		return false
	}
	t := fn.Type
	if t.TypeParams != nil || t.Results != nil || len(t.Params.List) != 1 || len(t.Params.List[0].Names) > 1 {
		return false
	}
	star, ok := t.Params.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	switch x := star.X.(type) {
	case *ast.Ident: // with testing imported by a dot
		return x.Name == param
	case *ast.SelectorExpr:
		return x.Sel.Name == param
	}
	return false
}
