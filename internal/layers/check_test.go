package layers

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/vspawn/vspawn"

// A room is a folder, with all below it, and what its packages may import. A
// file belongs to the first room that holds it.
type room struct {
	dir   string
	allow []string // packages; "std" is the standard library, and … at the end all below
	deny  []string // packages, stronger than allow
	tests []string // what tests may import besides
}

const (
	unix    = "golang.org/x/sys/unix"
	usage   = module + "/internal/usage"
	arch    = module + "/internal/arch"
	testkit = module + "/internal/testkit/…"
)

// rooms are the folders with rules. What is in none may import anything.
var rooms = []room{
	{dir: "asm/audit", allow: []string{"std"}, tests: []string{"golang.org/x/arch/…", module + "/asm"}},
	{dir: "asm", allow: []string{"unsafe"}, tests: []string{"std", unix, module + "/asm", testkit}},
	{dir: "vspawn/exec", allow: []string{"std", module + "/asm", module + "/vspawn"}, tests: []string{unix, module + "/vspawn/exec", testkit}},
	{dir: "vspawn", allow: []string{"std", unix, module + "/asm", module + "/vspawn/…"}, deny: []string{"os/exec", module + "/vspawn/exec"}, tests: []string{"os/exec", testkit}},
	{dir: "nommu", allow: []string{"std", unix, usage, module + "/internal/gobuild/gocmd"}, tests: []string{module + "/nommu"}},
	// It knows commands and files; internal/gobuild makes programs, for whatever machine.
	{dir: "initramfs", allow: anything, deny: []string{"os/exec", module + "/nommu", module + "/qemu/…", "github.com/hugelgupf/vmtest/…"}},
	{dir: "qemu", allow: anything, deny: []string{module + "/tests/…", testkit}, tests: []string{testkit}},
	{dir: "internal/gobuild/gocmd", allow: []string{"std"}},
	{dir: "internal/gobuild", allow: []string{"std", usage, arch, module + "/nommu", module + "/internal/gobuild/gocmd"}},
	{dir: "internal/arch", allow: []string{"std"}},
	{dir: "internal/usage", allow: []string{"std"}, tests: anything},
	{dir: "internal/host", allow: []string{"std", unix, usage}},
	{dir: "internal/supply", allow: []string{"std", unix, usage, arch, module + "/internal/host"}},
	{dir: "internal/testkit", allow: []string{"std", unix, module + "/asm", testkit}},
	{dir: "tests", allow: []string{"std", unix, module + "/asm", module + "/vspawn", module + "/vspawn/exec", testkit}},
	{dir: "cmd/gonommu", allow: []string{"std", usage, module + "/nommu"}},
	// What goes into images has no use for Go's sources.
	{dir: "cmd/vspawn", allow: []string{"std", unix, usage, module + "/vspawn"}, deny: []string{"go/…"}, tests: []string{"go/…", testkit}},
	{dir: "cmd/vspawn-migrate", allow: []string{"std", usage}, tests: []string{unix, module + "/vspawn", module + "/vspawn/exec"}},
}

var anything = []string{"…"}

// unsafeNames are the ends of the names of files that may import unsafe.
var unsafeNames = []string{"_unsafe.go", "_unsafe_test.go"}

// forLinkname may import unsafe for nothing but go:linkname.
const forLinkname = "asm/spawn.go"

// check reads the Go files of a module, for every system and architecture, and
// tells what breaks the rules.
func check(fsys fs.FS) (complaints []string, err error) {
	err = eachFile(fsys, func(name string, src []byte) error {
		found, err := checkFile(name, src)
		complaints = append(complaints, found...)
		return err
	})
	return complaints, err
}

// eachFile calls f for each of the modules' Go files.
func eachFile(fsys fs.FS, f func(name string, src []byte) error) error {
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || name == "build" || name != "." && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		return f(name, src)
	})
}

func checkFile(name string, src []byte) (complaints []string, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	r := roomOf(name)
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if r != nil && !r.may(imported, strings.HasSuffix(name, "_test.go")) {
			complaints = append(complaints, fmt.Sprintf("%s imports %s, which %s/ must not know", name, imported, r.dir))
		}
		blank := spec.Name != nil && spec.Name.Name == "_"
		if imported == "unsafe" && !unsafeMayBe(name) && !(blank && name == forLinkname) {
			complaints = append(complaints, name+" imports unsafe: only *_unsafe.go may")
		}
	}
	return complaints, nil
}

func roomOf(name string) *room {
	for i := range rooms {
		if strings.HasPrefix(name, rooms[i].dir+"/") {
			return &rooms[i]
		}
	}
	return nil
}

func (r *room) may(imported string, test bool) bool {
	if test && matchAny(r.tests, imported) {
		return true
	}
	return matchAny(r.allow, imported) && !matchAny(r.deny, imported)
}

func matchAny(patterns []string, imported string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, imported) })
}

func match(pattern, imported string) bool {
	if pattern == "std" {
		first, _, _ := strings.Cut(imported, "/")
		return !strings.Contains(first, ".")
	}
	prefix, below := strings.CutSuffix(pattern, "…")
	return below && strings.HasPrefix(imported+"/", prefix) || imported == pattern
}

func unsafeMayBe(name string) bool {
	return slices.ContainsFunc(unsafeNames, func(end string) bool { return strings.HasSuffix(name, end) })
}
