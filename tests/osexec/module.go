package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
)

// module copies the module of that name and version.
func (r *run) module(name string) error {
	out, err := r.output(filepath.Dir(r.dir), "go", "mod", "download", "-json", name)
	if err != nil {
		return err
	}
	var got struct{ Dir string }
	if err := json.Unmarshal(out, &got); err != nil {
		return err
	}
	if err := os.CopyFS(r.dir, os.DirFS(got.Dir)); err != nil {
		return err
	}
	// The cache of modules is not writable, nor is its copy.
	err = filepath.WalkDir(r.dir, func(name string, d os.DirEntry, err error) error {
		if err == nil {
			err = os.Chmod(name, 0o755)
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.require()
}

// require has the copy's module use our vspawn.
func (r *run) require() error {
	edit := []string{"go", "mod", "edit", "-go=1.25.0", "-require=" + module + "/vspawn@v0.0.0"}
	for _, m := range []string{"/vspawn", "/asm", "/internal/testkit"} {
		edit = append(edit, "-replace="+module+m+"="+r.root+m)
	}
	if _, err := r.output(r.dir, edit...); err != nil {
		return err
	}
	sums := filepath.Join(r.dir, "go.sum")
	own, err := os.ReadFile(filepath.Join(r.root, "vspawn", "go.sum"))
	if err != nil {
		return err
	}
	theirs, err := os.ReadFile(sums)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(sums, bytes.Join([][]byte{theirs, own}, nil), 0o666)
}
