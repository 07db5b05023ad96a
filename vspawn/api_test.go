package vspawn

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// needSources skips a test of the package's text, which a guest has not.
func needSources(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("vspawn.go"); err != nil {
		t.Skip("the package's sources are not here: ", err)
	}
}

// What is written for Linux compiles elsewhere: there is the same to call, and to
// fill in.
func TestSameAPIElsewhere(t *testing.T) {
	needSources(t)
	want := exported(t, "linux")
	if len(want) < 100 {
		t.Fatalf("%d names on Linux, which can't be all", len(want))
	}
	// Package syscall has no such types there.
	plan9 := func(name string) bool {
		types := []string{"Attr", "BPF", "CapSet", "Capabilities", "Caps", "File", "IDMap", "IOPriority", "Landlock",
			"LandlockPath", "LandlockPort", "Mount", "Namespace", "Ptr", "Range", "Rlimit", "Scheduler", "Syscall"}
		typ, _, _ := strings.Cut(name, ".")
		return slices.Contains(types, typ) || name == "State.Rusage" || name == "State.Sys"
	}
	for system, lacks := range map[string]func(string) bool{
		"darwin": nil, "freebsd": nil, "windows": nil, "js": nil, "plan9": plan9,
	} {
		t.Run(system, func(t *testing.T) {
			got := exported(t, system)
			for _, name := range slices.Sorted(maps.Keys(want)) {
				switch is, ok := got[name]; {
				case lacks != nil && lacks(name):
				case !ok:
					t.Errorf("%s is missing", name)
				case is != want[name]:
					t.Errorf("%s is %s, on Linux %s", name, is, want[name])
				}
			}
			for name := range got {
				if _, ok := want[name]; !ok {
					t.Errorf("%s is not there on Linux", name)
				}
			}
		})
	}
}

// exported are the package's names for a system, those of methods and fields after
// their type's, with their types.
func exported(t *testing.T, system string) map[string]string {
	t.Helper()
	arch := map[string]string{"js": "wasm"}[system]
	if arch == "" {
		arch = "amd64"
	}
	where := build.Default
	where.GOOS, where.GOARCH, where.CgoEnabled = system, arch, false
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		if match, err := where.MatchFile(".", name); err != nil {
			t.Fatal(err)
		} else if !match {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			collect(names, d)
		}
	}
	return names
}

func collect(names map[string]string, d ast.Decl) {
	if f, ok := d.(*ast.FuncDecl); ok {
		name := f.Name.Name
		if f.Recv != nil {
			name = strings.TrimPrefix(types.ExprString(f.Recv.List[0].Type), "*") + "." + name
		}
		add(names, name, signature(f.Type))
		return
	}
	for _, s := range d.(*ast.GenDecl).Specs {
		switch s := s.(type) {
		case *ast.ValueSpec:
			for _, n := range s.Names {
				add(names, n.Name, "a value")
			}
		case *ast.TypeSpec:
			add(names, s.Name.Name, "a type")
			fields, ok := s.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range fields.Fields.List {
				for _, n := range f.Names {
					add(names, s.Name.Name+"."+n.Name, types.ExprString(f.Type))
				}
			}
		}
	}
}

// signature is the types of a function alone, whatever its parameters are called.
func signature(f *ast.FuncType) string {
	text := func(l *ast.FieldList) string {
		var all []string
		for _, p := range l.List {
			for range max(1, len(p.Names)) {
				all = append(all, types.ExprString(p.Type))
			}
		}
		return "(" + strings.Join(all, ", ") + ")"
	}
	s := text(f.Params)
	if f.Results != nil {
		s += " " + text(f.Results)
	}
	return strings.ReplaceAll(s, "signalNumber", "syscall.Signal")
}

// add adds a name, if all of it is exported.
func add(names map[string]string, name, is string) {
	for part := range strings.SplitSeq(name, ".") {
		if !ast.IsExported(part) {
			return
		}
	}
	names[name] = is
}
