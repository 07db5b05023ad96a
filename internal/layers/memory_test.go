package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"testing"
)

// intoMemory are the functions of package vspawn that put text of whatever content where
// the kernel reads it, but for memory's own: the compiler's, which check it, the start's,
// whose command Compile or Plan.Command has checked, and a probe with text of its own.
var intoMemory = map[string][]string{
	"str":   {"compiler.str", "instance.fill", "FeatureSet.tryExecFD"},
	"strs":  {"compiler.strs", "instance.fill", "FeatureSet.tryExecFD"},
	"bytes": {"compiler.bytes", "instance.fill", "addSeccomp", "loaded.schedule"},
}

// A string becomes an argument in the ways that refuse a NUL.
func TestStringsAreChecked(t *testing.T) {
	files, err := filepath.Glob("../../vspawn/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range files {
		if matched, _ := path.Match("*_test.go", filepath.Base(name)); matched {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			in := nameOf(d)
			ast.Inspect(d, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok || !isMemory(s.X) {
					return true
				}
				may, text := intoMemory[s.Sel.Name]
				if text && !slices.Contains(may, in) {
					t.Errorf("%s: %s uses mem.%s: a string is an argument by c.str or c.strs, a structure by c.bytes",
						filepath.Base(name), in, s.Sel.Name)
				}
				found[s.Sel.Name+" in "+in] = true
				return true
			})
		}
	}
	for how, names := range intoMemory {
		for _, in := range names {
			if !found[how+" in "+in] {
				t.Errorf("%s does not use mem.%s any more", in, how)
			}
		}
	}
}

// isMemory tells whether an expression is a memory by its name: mem, or x.mem.
func isMemory(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "mem"
	case *ast.SelectorExpr:
		return e.Sel.Name == "mem"
	}
	return false
}

// nameOf is a function's name, with its receiver's type.
func nameOf(d ast.Decl) string {
	f, ok := d.(*ast.FuncDecl)
	if !ok {
		return "a declaration"
	}
	if f.Recv == nil {
		return f.Name.Name
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	return lastName(typ) + "." + f.Name.Name
}
