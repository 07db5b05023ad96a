package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vspawn/vspawn/internal/usage"
)

const (
	standardExec = "os/exec"
	ownExec      = "github.com/vspawn/vspawn/vspawn/exec"
)

// migrate is the command's work, which dry only tells of. Nothing is written
// unless every file could be read, and those to be changed can be written.
func migrate(stdout io.Writer, dry bool, patterns []string) error {
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	files, err := goFiles(patterns)
	if err != nil {
		return err
	}
	var done []*migration
	for _, name := range files {
		m, err := newMigration(name)
		if err != nil {
			return err
		}
		done = append(done, m)
	}
	if !dry {
		if err := writable(done); err != nil {
			return err
		}
	}
	verb := "changed"
	if dry {
		verb = "would change"
	}
	changed, notes := 0, 0
	for _, m := range done {
		if m.src != nil {
			if !dry {
				if err := rewrite(m.name, m.old, m.src); err != nil {
					return err
				}
			}
			changed++
			fmt.Fprintf(stdout, "%s: %s\n", m.name, verb)
		}
		slices.SortFunc(m.notes, func(a, b note) int { return a.line - b.line })
		for _, n := range m.notes {
			fmt.Fprintf(stdout, "%s:%d: %s\n", m.name, n.line, n.text)
		}
		notes += len(m.notes)
	}
	fmt.Fprintf(stdout, "%s %d of %d files; %d places need a person\n", verb, changed, len(files), notes)
	if changed > 0 {
		fmt.Fprintf(stdout, "next: go get %s && go vet ./...\n", ownExec)
	}
	return nil
}

// writable checks that the files that change may be written.
func writable(all []*migration) error {
	for _, m := range all {
		if m.src == nil {
			continue
		}
		f, err := os.OpenFile(m.name, os.O_WRONLY, 0)
		if err != nil {
			return usage.Errorf("nothing was changed: %w", err)
		}
		f.Close()
	}
	return nil
}

// goFiles finds the files that the patterns name: directories, and with /...
// all below them that belong to the same module.
func goFiles(patterns []string) (files []string, err error) {
	for _, p := range patterns {
		if strings.HasPrefix(p, "-") {
			return nil, usage.Errorf("unknown option %s: want -n", p)
		}
		root, below := strings.CutSuffix(p, "...")
		root = filepath.Clean(root)
		if info, err := os.Stat(root); err != nil || !info.IsDir() {
			return nil, usage.Errorf("%s is not a directory: want one, or one with /... for all below it", p)
		}
		root += "/" // the directory itself, and not a symbolic link to it
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && name != root && (!below || foreign(name)):
				return fs.SkipDir
			case d.Type().IsRegular() && strings.HasSuffix(name, ".go"):
				files = append(files, name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// foreign tells whether a directory is none of the module's, as the go command
// sees it.
func foreign(dir string) bool {
	base := filepath.Base(dir)
	if base == "vendor" || base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// A migration is what becomes of a file.
type migration struct {
	name  string
	old   []byte
	src   []byte // nil if it stays as it is
	notes []note

	fset *token.FileSet
	file *ast.File
}

// A note is a place that needs a person.
type note struct {
	line int
	text string
}

func newMigration(name string) (*migration, error) {
	old, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	m := &migration{name: name, old: old, fset: token.NewFileSet()}
	if m.file, err = parser.ParseFile(m.fset, name, old, parser.SkipObjectResolution); err != nil {
		return nil, usage.Errorf("nothing was changed: %w", err)
	}
	imports := map[string]string{} // path by name
	for _, i := range m.file.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		imports[name] = p
		if p != standardExec {
			continue
		}
		if name == "." {
			m.note(i, "dot import of os/exec: the new package has the same names, but see to it that none is hidden")
		}
		at := m.fset.Position(i.Path.Pos()).Offset
		m.src = slices.Concat(old[:at], []byte(strconv.Quote(ownExec)), old[at+len(i.Path.Value):])
	}
	m.startCalls(imports)
	if m.src == nil {
		return m, nil
	}
	m.commands(imports)
	// The import has another place in a sorted list. A file that was not
	// formatted is left so.
	if same, err := format.Source(old); err == nil && bytes.Equal(same, old) {
		if m.src, err = format.Source(m.src); err != nil {
			return nil, usage.Errorf("nothing was changed: %s: %w", name, err)
		}
	}
	return m, nil
}

func (m *migration) note(at ast.Node, text string) {
	m.notes = append(m.notes, note{m.fset.Position(at.Pos()).Line, text})
}

// startCalls notes what starts a process by fork, without os/exec.
func (m *migration) startCalls(imports map[string]string) {
	ast.Inspect(m.file, func(n ast.Node) bool {
		p, name := selector(n, imports)
		switch p + "." + name {
		case "os.StartProcess", "syscall.StartProcess", "syscall.ForkExec":
			m.note(n, p+"."+name+" still forks: vspawn.Start, or exec.Cmd, does the same")
		}
		return true
	})
}

// selector is the name that an expression takes from an imported package.
func selector(n ast.Node, imports map[string]string) (path, name string) {
	if s, ok := n.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return imports[x.Name], s.Sel.Name
		}
	}
	return "", ""
}

// commands notes where a command leaves the package, or comes from another:
// there the two types of the name Cmd meet. It knows no types but what the
// file itself says; the compiler finds the rest.
func (m *migration) commands(imports map[string]string) {
	isCmd := func(n ast.Node) bool {
		p, name := selector(n, imports)
		return p == standardExec && name == "Cmd"
	}
	hasCmd := func(n ast.Node) (found bool) {
		ast.Inspect(n, func(n ast.Node) bool { found = found || n != nil && isCmd(n); return !found })
		return found
	}
	ours := map[string]bool{} // variables that hold a command
	ast.Inspect(m.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			if n.Type != nil && hasCmd(n.Type) {
				for _, id := range n.Names {
					ours[id.Name] = true
				}
			}
		case *ast.ValueSpec:
			if n.Type != nil && hasCmd(n.Type) {
				for _, id := range n.Names {
					ours[id.Name] = true
				}
			}
		case *ast.AssignStmt:
			if call, ok := n.Rhs[0].(*ast.CallExpr); ok && len(n.Lhs) == 1 {
				p, name := selector(call.Fun, imports)
				if id, ok := n.Lhs[0].(*ast.Ident); ok && p == standardExec && strings.HasPrefix(name, "Command") {
					ours[id.Name] = true
				}
			}
		}
		return true
	})
	ast.Inspect(m.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		p, name := selector(call.Fun, imports)
		// The standard library takes commands as an any at most: fmt.Println.
		if first, _, _ := strings.Cut(p, "/"); !strings.Contains(first, ".") {
			return true
		}
		for _, a := range call.Args {
			if id, ok := a.(*ast.Ident); ok && ours[id.Name] {
				m.note(call, fmt.Sprintf("%s is passed to %s.%s: if that wants an *os/exec.Cmd, %s has to move as well", id.Name, p, name, p))
			}
		}
		return true
	})
	if m.file.Name.Name == "main" || strings.HasSuffix(m.name, "_test.go") {
		return
	}
	for _, d := range m.file.Decls {
		for name, at := range exported(d) {
			if hasCmd(at) {
				m.note(at, fmt.Sprintf("%s is exported with exec.Cmd in its type: for its importers that changes", name))
			}
		}
	}
}

// exported are the types of what a declaration exports, by name.
func exported(d ast.Decl) map[string]ast.Node {
	types := map[string]ast.Node{}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() {
			types[d.Name.Name] = d.Type
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					types[s.Name.Name] = s.Type
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && s.Type != nil {
					types[s.Names[0].Name] = s.Type
				}
			}
		}
	}
	return types
}

// rewrite gives a file other text. It is the same file afterwards, with its
// owner, mode, links and attributes, which a new one in its place would have
// only as far as we may give them, and know of them. What a rename would be good
// for, that the text is never lost in between, a copy of it does, which lies
// beside the file until the new text is on the disk.
func rewrite(name string, old, new []byte) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// The go command passes over names that begin with a dot.
	spare, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".old-*")
	if err != nil {
		return err
	}
	_, err = spare.Write(old)
	if err = errors.Join(err, spare.Sync(), spare.Close()); err == nil {
		if err = overwrite(f, new); err != nil {
			if again := overwrite(f, old); again != nil {
				return fmt.Errorf("%w; %w: its text is in %s", err, again, spare.Name())
			}
		}
	}
	return errors.Join(err, os.Remove(spare.Name()))
}

func overwrite(f *os.File, text []byte) error {
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(text))); err != nil {
		return err
	}
	return f.Sync()
}
