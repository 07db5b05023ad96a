package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A system call's name and number stand side by side in one list, but for the
// caller's own, and say the same there.
func TestCalls(t *testing.T) {
	const list, callers = "calls_linux.go", "attr_syscalls_linux.go"
	files, err := filepath.Glob("../../vspawn/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if unnamed(lit) {
				t.Errorf("%s makes calls of its own in a list: they belong into %s", name, list)
			}
			if !isCall(lit.Type) {
				return true
			}
			switch filepath.Base(name) {
			case callers:
			case list:
				found++
				text, number := lit.Elts[0].(*ast.BasicLit).Value, lastName(lit.Elts[1])
				if text, _ = strconv.Unquote(text); number != "SYS_"+strings.ToUpper(text) && !strings.EqualFold(number, "nr"+text) {
					t.Errorf("%s: %s beside %s", list, text, number)
				}
			default:
				t.Errorf("%s makes a call of its own: it belongs into %s", name, list)
			}
			return true
		})
	}
	if found == 0 {
		t.Errorf("no calls in %s", list)
	}
}

func isCall(typ ast.Expr) bool {
	id, ok := typ.(*ast.Ident)
	return ok && id.Name == "call"
}

// unnamed tells whether a list or a map has calls that leave out the type's name.
func unnamed(lit *ast.CompositeLit) bool {
	switch typ := lit.Type.(type) {
	case *ast.ArrayType:
		if !isCall(typ.Elt) {
			return false
		}
	case *ast.MapType:
		if !isCall(typ.Value) {
			return false
		}
	default:
		return false
	}
	return slices.ContainsFunc(lit.Elts, func(e ast.Expr) bool {
		if pair, ok := e.(*ast.KeyValueExpr); ok {
			e = pair.Value
		}
		c, ok := e.(*ast.CompositeLit)
		return ok && c.Type == nil
	})
}

// lastName is the name of an identifier, without its package's.
func lastName(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		return s.Sel.Name
	}
	return e.(*ast.Ident).Name
}
