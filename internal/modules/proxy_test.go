package modules

import (
	"archive/zip"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const (
	repository = "github.com/vspawn/vspawn"
	library    = repository + "/vspawn"
	root       = "../.."

	// version is that of all modules here, as their go.mod files name each other.
	version = "v0.1.0"
)

// published are the folders of the modules that others can require, in the order in
// which they are released. Those before the last make the library.
var published = []string{"asm", "internal/testkit", "vspawn", "."}

// A proxy is a folder with modules, as the go command fetches them.
type proxy string

// add puts a module there. files gives the contents of those that go into it.
func (p proxy) add(t *testing.T, module, version string, files map[string][]byte) {
	t.Helper()
	dir := filepath.Join(string(p), module, "@v")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("list", []byte(version+"\n"))
	write(version+".info", []byte(`{"Version":"`+version+`"}`))
	write(version+".mod", files["go.mod"])
	out, err := os.Create(filepath.Join(dir, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	z := zip.NewWriter(out)
	for name, content := range files {
		w, err := z.Create(module + "@" + version + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

// publish puts the modules of this working tree into a proxy, and older ones of
// others.
func publish(t *testing.T) proxy {
	t.Helper()
	p := proxy(t.TempDir())
	for _, dir := range published {
		p.add(t, path.Join(repository, dir), version, filesOf(t, os.DirFS(filepath.Join(root, dir))))
	}
	for module, version := range older {
		p.add(t, module, version, map[string][]byte{"go.mod": []byte("module " + module + "\n\ngo 1.17\n")})
	}
	return p
}

// filesOf reads the files of a module: those below its folder, but for what is below
// another module's.
func filesOf(t *testing.T, fsys fs.FS) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (d.Name()[0] == '.' || name == "build" ||
			exists(fsys, path.Join(name, "go.mod"))):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		files[name], err = fs.ReadFile(fsys, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

// A user is a module that is not of this repository, with a cache of modules of its
// own: what the proxy serves must not stay in the real one.
type user struct {
	dir string
	env []string
}

func newUser(t *testing.T, p proxy, files map[string]string) *user {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMODCACHE", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	cache, others, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	u := &user{dir: t.TempDir()}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(u.dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	proxies := []string{"file://" + string(p), "file://" + cache + "/cache/download", others}
	u.env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-modcacherw -mod=mod -trimpath", "GOPROXY="+strings.Join(proxies, ","),
		"GONOPROXY=none", "GOPRIVATE=", "GONOSUMDB=*", "GOSUMDB=off",
		"GOMODCACHE="+t.TempDir(), "CGO_ENABLED=0", "GOBIN="+u.dir)
	return u
}

// run gives the standard output of the go command.
func (u *user) run(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.Command("go", args...)
	c.Dir, c.Env = u.dir, u.env
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return string(out)
}
