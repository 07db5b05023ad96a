//go:build linux

package nommu

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// Without an MMU a program that wants a place of its own is refused, and says
// so. One that is larger than any block of memory is found out too late for
// that: the kernel kills it. Neither does its parent any harm.
func TestPrograms(t *testing.T) {
	helper.SkipEmulated(t, "way to start a program for its own machine")
	le := binary.LittleEndian
	const typ, entry, vaddr, memsz = 16, 24, 64 + 16, 64 + 40 // in the file
	const place, huge = 0x400000, 64 << 20                    // no block of memory is larger than 32 MiB
	for _, c := range []struct {
		name   string
		change func(file []byte)
		err    error  // of the start, without an MMU
		end    string // without an MMU
	}{
		{"anywhere", func([]byte) {}, nil, "exit status 0"},
		{"in its own place", func(file []byte) {
			le.PutUint16(file[typ:], 2) // ET_EXEC
			le.PutUint64(file[entry:], le.Uint64(file[entry:])+place)
			le.PutUint64(file[vaddr:], place)
		}, unix.ENOEXEC, ""},
		{"huge", func(file []byte) {
			le.PutUint64(file[memsz:], huge)
			file[64+4] |= 2 // writable, so that the rest can be cleared
		}, nil, "signal: segmentation fault"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if helper.MMU() {
				c.err, c.end = nil, "exit status 0"
			}
			file, err := os.ReadFile(tiny.Exit(t, 0))
			if err != nil {
				t.Fatal(err)
			}
			c.change(file)
			path := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(path, file, 0o755); err != nil {
				t.Fatal(err)
			}
			p, err := vspawn.Start(t.Context(), path, nil, nil)
			if c.err != nil {
				var e *vspawn.Error
				if !errors.As(err, &e) || e.Step != "execve" || e.Field != "" || e.Object != path || !errors.Is(err, c.err) {
					t.Errorf("got %v, want an execve of %s that fails: %v", err, path, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			state, err := p.Wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if state.String() != c.end {
				t.Errorf("the program ended by %q, want %q", state, c.end)
			}
		})
	}
}
