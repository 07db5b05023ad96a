package docs

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/arch"
)

var (
	place = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
	stays = regexp.MustCompile("`([^ `]+)`")
)

const goarch = "$GOARCH"

// portingPlaces are what porting.md has in its table, and what it says stays.
func portingPlaces(t *testing.T) (places, rest []string) {
	t.Helper()
	text, last, found := strings.Cut(read(t, "porting.md"), "## What stays as it is\n")
	if !found {
		t.Fatal("porting.md has no section of what stays")
	}
	for _, m := range place.FindAllStringSubmatch(text, -1) {
		places = append(places, m[1])
	}
	for _, m := range stays.FindAllStringSubmatch(last, -1) {
		rest = append(rest, m[1])
	}
	return places, rest
}

// names finds an architecture, by whatever name.
func names(archs ...arch.Arch) *regexp.Regexp {
	var all []string
	for _, a := range archs {
		all = append(all, a.GOARCH, a.Debian, a.QEMU)
	}
	return regexp.MustCompile(`(^|[^A-Za-z0-9])(` + strings.Join(all, "|") + `)($|[^A-Za-z0-9])`)
}

// Each place of porting.md has each architecture that there is, so that one which
// is half added is told what it lacks.
func TestPortingPlaces(t *testing.T) {
	places, rest := portingPlaces(t)
	for _, p := range places {
		for _, a := range arch.WithStubs() {
			file := strings.ReplaceAll(p, goarch, a.GOARCH)
			text, err := os.ReadFile("../" + file)
			if err != nil {
				t.Errorf("%s: %v", a.GOARCH, err)
			} else if file == p && !names(a).Match(text) {
				t.Errorf("%s does not name %s", file, a.GOARCH)
			}
		}
	}
	for _, p := range rest {
		if found, err := filepath.Glob("../" + p); err != nil || len(found) == 0 {
			t.Errorf("porting.md names %s, which is not there", p)
		}
	}
}

// No other file names one.
func TestPortingIsAll(t *testing.T) {
	places, rest := portingPlaces(t)
	known := func(name string) bool {
		for _, p := range append(rest, places...) {
			ok, err := path.Match(strings.ReplaceAll(p, goarch, "*"), name)
			if ok || err != nil || strings.HasSuffix(p, "/") && strings.HasPrefix(name, p) {
				return true
			}
		}
		return false
	}
	wanted := names(arch.WithStubs()...)
	err := fs.WalkDir(os.DirFS(".."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && (d.Name()[0] == '.' || name == "build"):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular() || known(name):
			return nil
		}
		text, err := os.ReadFile("../" + name)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil // what a compiler has left here
		}
		if m := wanted.FindSubmatch(text); m != nil {
			t.Errorf("%s names %s: it belongs in porting.md, if it can't do without", name, m[2])
		} else if m := wanted.FindStringSubmatch(name); m != nil {
			t.Errorf("%s is for %s: it belongs in porting.md", name, m[2])
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// The README's list is the table's.
func TestReadmeArchitectures(t *testing.T) {
	if want := "Linux on " + arch.List("and") + "."; !strings.Contains(read(t, "../README.md"), want) {
		t.Errorf("the README does not say %q", want)
	}
}
