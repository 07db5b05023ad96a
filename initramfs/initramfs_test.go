package initramfs

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/vspawn/vspawn/internal/gobuild"
)

const core = "github.com/u-root/u-root/cmds/core/"

// beside are the lines of go.mod with this repository's modules.
var beside = regexp.MustCompile(`(?m)^\tgithub\.com/vspawn/vspawn/.*\n`)

// few are the commands of the images built here: a base of all takes long.
var few = []string{core + "init", core + "gosh", core + "true"}

// module makes a copy of this module's go.mod elsewhere, with programs of its own,
// and without the modules that are beside it.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), beside.ReplaceAllString(string(b), ""))
	}
	write(t, filepath.Join(dir, "hello", "main.go"), "package main\n\nfunc main() { println(\"hello\") }\n")
	write(t, filepath.Join(dir, "other", "hello", "main.go"), "package main\n\nfunc main() {}\n")
	write(t, filepath.Join(dir, "lib", "lib.go"), "package lib\n")
	return dir
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

// unpack reads an image as the kernel does: member after member, a later file in
// place of an earlier one, and no file without its directory.
func unpack(t *testing.T, image []byte) map[string]cpio.Record {
	t.Helper()
	files := map[string]cpio.Record{".": cpio.Directory(".", 0o755)}
	in := bytes.NewReader(image)
	for in.Len() > 0 {
		z, err := gzip.NewReader(in)
		if err != nil {
			t.Fatal(err)
		}
		z.Multistream(false)
		if z.Name != "" || !z.ModTime.IsZero() {
			t.Errorf("gzip header holds name %q, time %v", z.Name, z.ModTime)
		}
		archive, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		err = cpio.ForEachRecord(cpio.Newc.Reader(bytes.NewReader(archive)), func(r cpio.Record) error {
			if dir, ok := files[filepath.Dir(r.Name)]; !ok || dir.Mode&cpio.S_IFMT != cpio.S_IFDIR {
				t.Errorf("%s comes before its directory", r.Name)
			}
			if r.MTime != 0 || r.UID != 0 || r.GID != 0 {
				t.Errorf("%s: mtime %d, uid %d, gid %d, want 0", r.Name, r.MTime, r.UID, r.GID)
			}
			files[r.Name] = r
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func content(t *testing.T, r cpio.Record) string {
	t.Helper()
	b := make([]byte, r.FileSize)
	if _, err := r.ReadAt(b, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return string(b)
}

// TestNoCommands builds an image that has the caller's files alone.
func TestNoCommands(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "image")
	_, err := Build(t.Context(), Spec{
		Toolchain: Toolchain{GOARCH: "riscv64", Dir: module(t), CacheDir: t.TempDir()},
		Commands:  []string{},
		Files:     []File{{Path: "/init", Data: []byte("mine")}},
		Out:       out,
	})
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, image)
	if content(t, files["init"]) != "mine" || files["dev/console"].Rmajor != 5 {
		t.Errorf("init: %+v, dev/console: %+v", files["init"], files["dev/console"])
	}
	if _, ok := files["bbin/bb"]; ok {
		t.Error("there are commands")
	}
}

// TestBuild builds the same image at two places, at one of them twice at once.
func TestBuild(t *testing.T) {
	t.Parallel()
	type built struct {
		Result
		image []byte
		err   error
	}
	results := make(chan built)
	build := func(dir, cache, out string) {
		r, err := Build(context.Background(), Spec{
			Toolchain: Toolchain{GOARCH: "riscv64", Dir: dir, CacheDir: cache},
			Commands:  few,
			Programs:  []string{"./hello"},
			Files: []File{
				{Path: "/tests/data/a", Data: []byte("abc"), Mode: 0o4711},
				{Path: "/tests/b", Host: filepath.Join(dir, "lib", "lib.go")},
				{Path: "/bbin/true", Data: []byte("mine")},
				{Path: "/etc/passwd", Data: []byte("them"), Mode: 0o600},
			},
			Out: out,
		})
		image, _ := os.ReadFile(out)
		results <- built{r, image, err}
	}
	here, there, tmp := module(t), module(t), t.TempDir()
	go build(here, filepath.Join(here, "cache"), filepath.Join(tmp, "1"))
	go build(here, filepath.Join(here, "cache"), filepath.Join(tmp, "2"))
	go build(there, filepath.Join(tmp, "cache"), filepath.Join(tmp, "new", "3"))
	all := []built{<-results, <-results, <-results}
	go build(here, filepath.Join(here, "cache"), filepath.Join(tmp, "1"))
	warm := <-results
	if !warm.BaseCached {
		t.Error("the second build at one place did not find the base in the cache")
	}
	all = append(all, warm)
	for i, b := range all {
		if b.err != nil {
			t.Fatal(b.err)
		}
		if b.SHA256 != all[0].SHA256 || !bytes.Equal(b.image, all[0].image) {
			t.Errorf("image %d: %d bytes %s; image 0: %d bytes %s", i, b.Size, b.SHA256, all[0].Size, all[0].SHA256)
		}
		if b.Size != int64(len(b.image)) {
			t.Errorf("image %d: size %d, have %d bytes", i, b.Size, len(b.image))
		}
	}

	if fi, err := os.Stat(filepath.Join(tmp, "1")); err != nil || fi.Mode() != 0o644 {
		t.Errorf("image: %v, %v, want mode 0644", fi, err)
	}

	checkFiles(t, unpack(t, all[0].image), here, there, tmp)
	for _, dir := range []string{tmp, filepath.Join(tmp, "new")} {
		if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	for _, dir := range []string{filepath.Join(here, "cache", "tmp"), filepath.Join(tmp, "cache", "tmp")} {
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// checkFiles checks what is in the image of TestBuild, and that no program knows where
// it was made.
func checkFiles(t *testing.T, files map[string]cpio.Record, places ...string) {
	t.Helper()
	for _, want := range []struct {
		name, content string
		mode          uint64
	}{
		{"init", "bbin/init", cpio.S_IFLNK | 0o777},
		{"bin/sh", "../bbin/gosh", cpio.S_IFLNK | 0o777},
		{"bin/defaultsh", "../bbin/gosh", cpio.S_IFLNK | 0o777},
		{"bbin/init", "bb", cpio.S_IFLNK | 0o777},
		{"bbin/gosh", "bb", cpio.S_IFLNK | 0o777},
		{"bbin/true", "mine", cpio.S_IFREG | 0o755},
		{"etc/passwd", "them", cpio.S_IFREG | 0o600},
		{"tmp", "", cpio.S_IFDIR | 0o1777},
		{"dev/console", "", cpio.S_IFCHR | 0o600},
		{"tests/data", "", cpio.S_IFDIR | 0o755},
		{"tests/data/a", "abc", cpio.S_IFREG | 0o4711},
		{"tests/b", "package lib\n", cpio.S_IFREG | 0o755},
	} {
		r, ok := files[want.name]
		if !ok {
			t.Errorf("%s is missing", want.name)
			continue
		}
		if got := content(t, r); got != want.content || r.Mode != want.mode {
			t.Errorf("%s: mode %#o, content %q; want %#o, %q", want.name, r.Mode, got, want.mode, want.content)
		}
	}
	if c := files["dev/console"]; c.Rmajor != 5 || c.Rminor != 1 {
		t.Errorf("dev/console is device %d:%d, want 5:1", c.Rmajor, c.Rminor)
	}
	for _, name := range []string{"bbin/bb", "bin/hello"} {
		r := files[name]
		if r.Mode != cpio.S_IFREG|0o755 {
			t.Errorf("%s: mode %#o", name, r.Mode)
			continue
		}
		exe := content(t, r)
		checkELF(t, name, strings.NewReader(exe), elf.EM_RISCV)
		for _, place := range places {
			if strings.Contains(exe, place) {
				t.Errorf("%s holds the path %s", name, place)
			}
		}
	}
}

func checkELF(t *testing.T, name string, r io.ReaderAt, machine elf.Machine) {
	t.Helper()
	f, err := elf.NewFile(r)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if f.Machine != machine {
		t.Errorf("%s is for %v, want %v", name, f.Machine, machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s is not static", name)
		}
	}
}

// TestExtend wants what was there and what is added, and the image as it was.
func TestExtend(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	image, out := filepath.Join(dir, "image"), filepath.Join(dir, "out")
	spec := Spec{
		Toolchain: Toolchain{GOARCH: runtime.GOARCH, Dir: module(t), CacheDir: t.TempDir()},
		Commands:  []string{},
		Files:     []File{{Path: "/a", Data: []byte("old"), Mode: 0o644}, {Path: "/b", Data: []byte("b"), Mode: 0o644}},
		Out:       image,
	}
	if _, err := Build(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := Extend(image, []File{{Path: "/a", Data: []byte("new"), Mode: 0o644},
		{Path: "/c/d", Data: []byte("d"), Mode: 0o600}}, out); err != nil {
		t.Fatal(err)
	}
	both, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, both)
	for name, want := range map[string]string{"a": "new", "b": "b", "c/d": "d"} {
		if r, ok := files[name]; !ok || content(t, r) != want {
			t.Errorf("%s: %v, want %q", name, ok, want)
		}
	}
	if after, err := os.ReadFile(image); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the image itself has changed, %v", err)
	}
	if err := Extend(image, []File{{Path: "/c", Host: "/nowhere"}}, out); err == nil {
		t.Error("no error for a file that is not there")
	}
	if after, err := os.ReadFile(out); err != nil || !bytes.Equal(after, both) {
		t.Errorf("what was there is gone, %v", err)
	}
}

// TestBadInput wants each mistake told in one line as an InputError, and the
// image that was there before left alone.
func TestBadInput(t *testing.T) {
	t.Parallel()
	dir, cache := module(t), t.TempDir()
	for name, tt := range map[string]struct {
		spoil func(*Spec)
		want  string
	}{
		"architecture":       {func(s *Spec) { s.GOARCH = "z80" }, "linux/z80"},
		"no architecture":    {func(s *Spec) { s.GOARCH = "" }, "GOARCH"},
		"no cache":           {func(s *Spec) { s.CacheDir = "" }, "cache directory"},
		"cache is a file":    {func(s *Spec) { s.CacheDir = filepath.Join(dir, "go.mod") }, "go.mod"},
		"no module":          {func(s *Spec) { s.Dir = t.TempDir() }, "not in a Go module"},
		"no output":          {func(s *Spec) { s.Out = "" }, "output path"},
		"output in a file":   {func(s *Spec) { s.Out = filepath.Join(dir, "go.mod", "x") }, "go.mod"},
		"output a directory": {func(s *Spec) { s.Out = dir }, "not a regular file"},
		"no such command":    {func(s *Spec) { s.Commands = []string{core + "nosuch"} }, "nosuch"},
		"library command":    {func(s *Spec) { s.Commands = []string{"github.com/u-root/u-root/pkg/cpio"} }, "package cpio"},
		"own command":        {func(s *Spec) { s.Commands = []string{"github.com/vspawn/vspawn/hello"} }, "Programs"},
		"standard command":   {func(s *Spec) { s.Commands = []string{"cmd/go"} }, "standard library"},
		"no such program":    {func(s *Spec) { s.Programs = []string{"./nosuch"} }, "nosuch"},
		"program twice":      {func(s *Spec) { s.Programs = []string{"./hello", "./other/hello"} }, "both be called hello"},
		"library program":    {func(s *Spec) { s.Programs = []string{"./lib"} }, "package lib"},
		"relative path":      {func(s *Spec) { s.Files = []File{{Path: "a"}} }, `"a"`},
		"path upwards":       {func(s *Spec) { s.Files = []File{{Path: "/../a"}} }, `"/../a"`},
		"root":               {func(s *Spec) { s.Files = []File{{Path: "/"}} }, `"/"`},
		"file twice":         {func(s *Spec) { s.Files = []File{{Path: "/a"}, {Path: "/a"}} }, `"/a"`},
		"file on directory":  {func(s *Spec) { s.Files = []File{{Path: "/a/b"}, {Path: "/a"}} }, `"/a"`},
		"file in a file":     {func(s *Spec) { s.Files = []File{{Path: "/a"}, {Path: "/a/b"}} }, `"/a/b"`},
		"mode":               {func(s *Spec) { s.Files = []File{{Path: "/a", Mode: 0o100644}} }, "mode"},
		"no such file":       {func(s *Spec) { s.Files = []File{{Path: "/a", Host: dir + "/nosuch"}} }, "nosuch"},
		"directory":          {func(s *Spec) { s.Files = []File{{Path: "/a", Host: dir}} }, "regular"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := t.TempDir()
			spec := Spec{
				Toolchain: Toolchain{GOARCH: "riscv64", Dir: dir, CacheDir: cache},
				Commands:  few,
				Out:       filepath.Join(out, "image"),
			}
			write(t, spec.Out, "before")
			tt.spoil(&spec)
			_, err := Build(t.Context(), spec)
			var input *InputError
			if !errors.As(err, &input) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want an InputError of one line with %q", err, tt.want)
			}
			left := map[string]bool{}
			fs.WalkDir(os.DirFS(out), ".", func(path string, d fs.DirEntry, err error) error {
				left[path] = true
				return err
			})
			if want := map[string]bool{".": true, "image": true}; !maps.Equal(left, want) {
				t.Errorf("left %v, want %v", left, want)
			}
			if b, _ := os.ReadFile(filepath.Join(out, "image")); string(b) != "before" {
				t.Errorf("the image before was replaced by %d bytes", len(b))
			}
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	out := filepath.Join(t.TempDir(), "image")
	_, err := Build(ctx, Spec{
		Toolchain: Toolchain{GOARCH: "riscv64", CacheDir: t.TempDir(), Progress: func(string) { cancel() }},
		Commands:  few,
		Out:       out,
	})
	var input *InputError
	if !errors.Is(err, context.Canceled) || errors.As(err, &input) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("there is an image")
	}
}

func TestDefaultCommands(t *testing.T) {
	commands := DefaultCommands()
	for _, name := range strings.Fields("init gosh ls cat ps mount umount dmesg kill shutdown poweroff") {
		if !slices.Contains(commands, core+name) {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestKey(t *testing.T) {
	dir := module(t)
	env := gobuild.Env{GOVERSION: "go1.26.8", GOARCH: "arm64", GOROOT: "/a", GOMOD: filepath.Join(dir, "go.mod")}
	key := func(env gobuild.Env, commands ...string) string {
		k, err := baseKey(env, "compiler", commands)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := key(env, "a", "b")

	moved := env
	moved.GOROOT, moved.GOMOD = "/b", filepath.Join(module(t), "go.mod")
	if k := key(moved, "a", "b"); k != first {
		t.Error("another place gave another key")
	}

	seen := map[string]string{first: "first"}
	other := func(what, key string) {
		if same, dup := seen[key]; dup {
			t.Errorf("%s: same key as %s", what, same)
		}
		seen[key] = what
	}
	release, arch := env, env
	release.GOVERSION, arch.GOARCH = "go1.27", "riscv64"
	other("Go release", key(release, "a", "b"))
	other("architecture", key(arch, "a", "b"))
	other("commands", key(env, "a"))
	work := env
	work.GOWORK = filepath.Join(dir, "go.work")
	write(t, work.GOWORK, "go 1.25\n")
	other("workspace", key(work, "a", "b"))
	write(t, work.GOWORK, "go 1.26\n")
	other("another workspace", key(work, "a", "b"))
	write(t, filepath.Join(dir, "go.sum"), "")
	other("modules", key(env, "a", "b"))
}
