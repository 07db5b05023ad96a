package modules

import (
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What a module imports it requires, for its tests too: in a workspace an import of
// another module here works without, and out of it, or with go mod tidy, does not.
func TestImports(t *testing.T) {
	t.Parallel()
	dirs := modulesHere(t)
	for _, dir := range dirs {
		m := readMod(t, dir)
		known := []string{m.Module.Path}
		for _, r := range m.Require {
			if slices.Contains(known, r.Path) {
				t.Errorf("%s/go.mod requires %s twice", dir, r.Path)
			}
			known = append(known, r.Path)
		}
		for name, src := range filesOf(t, os.DirFS(filepath.Join(root, dir))) {
			if path.Ext(name) != ".go" || strings.Contains("/"+name, "/testdata/") || strings.Contains("/"+name, "/_") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range file.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				first, _, _ := strings.Cut(imported, "/")
				if strings.Contains(first, ".") && !slices.Contains(known, moduleOf(imported, dirs, known)) {
					t.Errorf("%s/%s imports %s, and %s/go.mod requires no module that has it", dir, name, imported, dir)
				}
			}
		}
	}
}

// moduleOf is the module of a package: the longest path of those that begin its own.
func moduleOf(imported string, dirs, known []string) (longest string) {
	all := slices.Clone(known)
	for _, dir := range dirs {
		all = append(all, path.Join(repository, dir))
	}
	for _, m := range all {
		if strings.HasPrefix(imported+"/", m+"/") && len(m) > len(longest) {
			longest = m
		}
	}
	return longest
}
