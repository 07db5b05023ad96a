package modules

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// older are modules in versions older than the rig's, as a user may have them.
var older = map[string]string{
	"github.com/creack/pty":       "v1.1.17",
	"github.com/stretchr/testify": "v1.6.1",
	"golang.org/x/text":           "v0.3.0",
	"golang.org/x/tools":          "v0.26.0",
	"golang.org/x/sys":            "v0.1.0",
}

const sys = "golang.org/x/sys"

// One who requires the library requires its modules and x/sys besides, and no other
// version of his moves.
func TestGraph(t *testing.T) {
	t.Parallel()
	p := publish(t)
	for name, requires := range map[string]map[string]string{"empty": nil, "older": older} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUser(t, p, map[string]string{"go.mod": goMod(requires), "main.go": program})
			before := u.modules(t)
			u.run(t, "get", library+"/exec@"+version)
			after := u.modules(t)

			want := maps.Clone(before)
			for _, dir := range published[:len(published)-1] {
				want[path.Join(repository, dir)] = version
			}
			want[sys] = readMod(t, "vspawn").requires()[sys]
			if !maps.Equal(after, want) {
				t.Errorf("the modules were %v, and are %v; want %v", before, after, want)
			}
			for line := range strings.Lines(u.run(t, "mod", "graph")) {
				if strings.Contains(line, "u-root") {
					t.Errorf("the graph has %s", line)
				}
			}
			u.run(t, "build", "-o", "program", ".")
			out, err := exec.Command(filepath.Join(u.dir, "program")).CombinedOutput()
			if string(out) != "a child, <nil>\n" || err != nil {
				t.Errorf("the program said %q, %v", out, err)
			}
		})
	}
}

const program = `package main

import (
	"fmt"
	"os"

	"github.com/vspawn/vspawn/vspawn/exec"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Print("a child")
		return
	}
	out, err := exec.Command("/proc/self/exe", "child").Output()
	fmt.Printf("%s, %v\n", out, err)
}
`

// The commands can be installed by their path: go install refuses a go.mod with a
// replace.
func TestInstall(t *testing.T) {
	t.Parallel()
	u := newUser(t, publish(t), nil)
	var packages []string
	for _, name := range []string{"vspawn", "vspawn-migrate", "gonommu"} {
		packages = append(packages, repository+"/cmd/"+name+"@"+version)
	}
	u.run(t, append([]string{"install"}, packages...)...)
	for _, p := range packages {
		name, _, _ := strings.Cut(path.Base(p), "@")
		if _, err := os.Stat(filepath.Join(u.dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// A modFile is what go mod edit -json says of a go.mod.
type modFile struct {
	Module  struct{ Path string }
	Go      string
	Require []struct{ Path, Version string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
	Use []struct{ DiskPath string }
}

func (m *modFile) requires() map[string]string {
	r := map[string]string{}
	for _, q := range m.Require {
		r[q.Path] = q.Version
	}
	return r
}

func readMod(t *testing.T, dir string) *modFile {
	t.Helper()
	return parse(t, "mod", "edit", "-json", filepath.Join(root, dir, "go.mod"))
}

func parse(t *testing.T, args ...string) *modFile {
	t.Helper()
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	m := new(modFile)
	if err := json.Unmarshal(out, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// The modules here are all in the workspace, have one Go version and one of x/sys, and
// name each other in the version that the workspace has.
func TestWorkspace(t *testing.T) {
	t.Parallel()
	work := parse(t, "work", "edit", "-json", filepath.Join(root, "go.work"))
	var used []string
	for _, u := range work.Use {
		used = append(used, path.Clean(u.DiskPath))
	}
	slices.Sort(used)
	dirs := modulesHere(t)
	if !slices.Equal(used, dirs) {
		t.Errorf("go.work uses %q; there are modules in %q", used, dirs)
	}
	replaced := map[string]string{}
	for _, r := range work.Replace {
		replaced[r.Old.Path+"@"+r.Old.Version] = path.Clean(r.New.Path)
	}
	top := readMod(t, ".")
	for _, dir := range dirs {
		m := readMod(t, dir)
		if want := path.Join(repository, dir); m.Module.Path != want {
			t.Errorf("%s/go.mod is of %s, want %s", dir, m.Module.Path, want)
		}
		if m.Go != top.Go || m.Go != work.Go {
			t.Errorf("%s/go.mod has Go %s; the top's has %s, go.work %s", dir, m.Go, top.Go, work.Go)
		}
		if len(m.Replace) > 0 {
			t.Errorf("%s/go.mod has replacements, with which it can't be installed", dir)
		}
		for required, v := range m.requires() {
			own, here := strings.CutPrefix(required, repository+"/")
			if here && (v != version || !slices.Contains(published, own) || replaced[required+"@"+v] != own) {
				t.Errorf("%s/go.mod requires %s %s: want a module that is released, in %s, with a line in go.work",
					dir, required, v, version)
			}
			if required == sys && v != top.requires()[sys] {
				t.Errorf("%s/go.mod requires %s %s, the top %s", dir, required, v, top.requires()[sys])
			}
		}
	}
}

// modulesHere lists the folders with a go.mod.
func modulesHere(t *testing.T) (dirs []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && name != "." && (d.Name()[0] == '.' || name == "build" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if err == nil && d.Name() == "go.mod" {
			dirs = append(dirs, path.Dir(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(dirs)
	return dirs
}

func goMod(requires map[string]string) string {
	var b strings.Builder
	b.WriteString("module example.org/user\n\ngo 1.25.0\n")
	for _, m := range slices.Sorted(maps.Keys(requires)) {
		b.WriteString("\nrequire " + m + " " + requires[m] + "\n")
	}
	return b.String()
}

// modules are those of the user's build list, by version.
func (u *user) modules(t *testing.T) map[string]string {
	t.Helper()
	list := map[string]string{}
	for line := range strings.Lines(u.run(t, "list", "-m", "all")) {
		if m, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			list[m] = v
		}
	}
	return list
}
