package nommu

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// added are files that become part of the runtime.
//
//go:embed _runtime
var added embed.FS

// editFiles applies edits to the standard library below src, for a minor release
// of Go 1, and gives the files that differ by their names below src.
func editFiles(src fs.FS, minor int, edits []edit) (map[string]string, error) {
	files := map[string]string{}
	for _, e := range edits {
		if minor < e.since || e.before != 0 && minor >= e.before {
			continue
		}
		text, ok := files[e.file]
		if !ok {
			b, err := fs.ReadFile(src, e.file)
			if err != nil {
				return nil, inputErrorf("this Go release has no %s, where %q was to be edited: %w", e.file, e.old, err)
			}
			text = string(b)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return nil, inputErrorf("this Go release has other text in %s: %q is there %d times, not once, and can't be edited (%s)", e.file, e.old, n, e.why)
		}
		files[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	entries, err := added.ReadDir("_runtime")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		name := "runtime/" + entry.Name()
		if _, err := fs.Stat(src, name); err == nil {
			return nil, inputErrorf("this Go release has a file %s of its own, where one was to be added", name)
		}
		b, err := added.ReadFile("_runtime/" + entry.Name())
		if err != nil {
			return nil, err
		}
		files[name] = string(b)
	}
	return files, nil
}

// writeOverlay writes the edited files of the Go release at goroot into dir, and
// gives the file for the go command's -overlay.
func writeOverlay(dir, goroot string, minor int) (string, error) {
	src := filepath.Join(goroot, "src")
	files, err := editFiles(os.DirFS(src), minor, edits)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for name, text := range files {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			return "", fmt.Errorf("nommu: %w", err)
		}
		replace[path.Join(filepath.ToSlash(src), name)] = file
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, b, 0o666); err != nil {
		return "", fmt.Errorf("nommu: %w", err)
	}
	return file, nil
}
