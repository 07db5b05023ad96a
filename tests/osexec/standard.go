package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const standard = "os/exec"

// scratch is the module of the standard library's tests. The go command lets
// only packages below bootstrap/ import those below internal/, which the tests
// do.
const scratch = "bootstrap/osexec"

// inside are files of tests that use what the standard's package does not
// export, and of tests that are not about it.
var inside = []string{"env_test.go", "internal_test.go", "testenv/testenv_test.go"}

// standard copies the standard library's tests.
func (r *run) standard(string) error {
	goroot, err := r.output(".", "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	src := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	if _, err := r.output(r.dir, "go", "mod", "init", scratch); err != nil {
		return err
	}
	if err := r.require(); err != nil {
		return err
	}
	own := []string{ // what has another place here
		`"internal/testenv"`, `"` + scratch + `/testenv"`,
		`"read3.go"`, `"./read3"`,
		"//go:build ignore\n", "",
	}
	if err := copyFiles(filepath.Join(src, "os/exec/*_test.go"), r.dir, func(b []byte) []byte {
		return outside(replace(b, own))
	}); err != nil {
		return err
	}
	if err := copyFiles(filepath.Join(src, "os/exec/read3.go"), filepath.Join(r.dir, "read3"), func(b []byte) []byte {
		return replace(b, own)
	}); err != nil {
		return err
	}
	// testenv makes commands for the tests.
	if err := copyFiles(filepath.Join(src, "internal/testenv/*.go"), filepath.Join(r.dir, "testenv"), nil); err != nil {
		return err
	}
	for _, name := range inside {
		if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// outside makes a test of what is inside the package one from outside.
func outside(b []byte) []byte {
	return bytes.Replace(b, []byte("\npackage exec\n"), []byte("\npackage exec_test\n\nimport . \"os/exec\"\n"), 1)
}

func replace(b []byte, pairs []string) []byte {
	return []byte(strings.NewReplacer(pairs...).Replace(string(b)))
}

func copyFiles(pattern, dir string, edit func([]byte) []byte) error {
	names, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("there is no %s: is Go installed with its source?", pattern)
	}
	for _, name := range names {
		if err := copyFile(name, filepath.Join(dir, filepath.Base(name)), edit); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string, edit func([]byte) []byte) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if edit != nil {
		b = edit(b)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o666)
}
