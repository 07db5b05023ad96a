package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/initramfs"
	"github.com/vspawn/vspawn/qemu"
)

// stdTarget is the target that the standard library is to judge.
const stdTarget = "riscv64-nommu"

// stdRoot is where the guest has what of Go's tree the tests read. It is not
// called GOROOT there, as nothing can be built.
const stdRoot = "/go"

// stdPackages are those whose tests run there: what a program in firmware uses,
// and what shows memory, threads and processes at work.
var stdPackages = []string{
	"archive/tar", "bufio", "bytes", "compress/flate", "compress/gzip", "context",
	"crypto/sha256", "encoding/base64", "encoding/binary", "encoding/gob", "encoding/json",
	"errors", "flag", "fmt", "hash/crc32", "io", "log", "maps", "math", "math/big",
	"net", "os", "os/exec", "os/signal", "path/filepath", "reflect", "regexp",
	"runtime", "runtime/debug", "slices", "sort", "strconv", "strings", "sync",
	"sync/atomic", "text/template", "time", "unicode/utf8",
}

// testStd runs the standard library's own tests in guests.
func testStd(ctx context.Context, o *options, out *os.File) error {
	if o.given["TARGETS"] == "" {
		var err error
		if o.targets, err = qemu.Select(stdTarget); err != nil {
			return err
		}
		o.machines(o.targets)
	}
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	var suites []qemu.Suite
	for _, p := range stdPackages {
		suites = append(suites, qemu.Suite{
			// Some count on what those before them did: os/exec's leak test, on a
			// poller that is open.
			Package: p, Once: true, Sources: true, Together: true, Args: []string{"-test.short"}, Skip: stdSkips[p],
			Dir: path.Join(stdRoot, "src", p), Env: []string{"PATH=/bbin:/bin", "ZONEINFO=" + stdRoot + "/lib/time/zoneinfo.zip"},
		})
	}
	suites[0].Files = stdFiles(strings.TrimSpace(string(goroot)))
	// Before the run, as it ends with what failed.
	for _, p := range stdPackages {
		for _, name := range slices.Sorted(maps.Keys(stdSkips[p])) {
			fmt.Fprintf(out, "left out of %s: %s: %s\n", p, name, stdSkips[p][name])
		}
	}
	return runSuites(ctx, o, suites, out)
}

// stdFiles are what the tests expect of a system, and of other packages.
func stdFiles(goroot string) []initramfs.File {
	text := func(name, text string) initramfs.File {
		return initramfs.File{Path: name, Data: []byte(text), Mode: 0o644}
	}
	tree := func(name string) initramfs.File {
		return initramfs.File{Path: path.Join(stdRoot, name), Host: filepath.Join(goroot, name), Mode: 0o644}
	}
	return []initramfs.File{
		text("/etc/hosts", "127.0.0.1 localhost\n"),
		text("/usr/bin/one", ""),
		text("/usr/bin/two", ""),
		tree("lib/time/zoneinfo.zip"),
		tree("src/testdata/Isaac.Newton-Opticks.txt"),
	}
}
