//go:build linux

// Package noop makes the smallest of all programs. It starts in no time even
// in an emulated machine, where a Go program takes a good part of a second.
package noop

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// exits is the code of exit_group(0).
var exits = map[string]struct {
	machine elf.Machine
	code    []byte
}{
	"amd64":   {elf.EM_X86_64, []byte{0x31, 0xff, 0xb8, 231, 0, 0, 0, 0x0f, 0x05}},
	"arm64":   {elf.EM_AARCH64, []byte{0, 0, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4}},
	"riscv64": {elf.EM_RISCV, []byte{0x13, 5, 0, 0, 0x93, 8, 0xe0, 5, 0x73, 0, 0, 0}},
}

// Write writes a static program that exits with status 0, and gives its path.
// It is of the kind that runs wherever the kernel puts it, as a kernel without
// an MMU takes no other.
func Write(tb testing.TB) string {
	tb.Helper()
	arch, ok := exits[runtime.GOARCH]
	if !ok {
		tb.Skipf("there is no such program for %s", runtime.GOARCH)
	}
	const headers = 64 + 56
	size := uint64(headers + len(arch.code))
	var file bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_DYN), Machine: uint16(arch.machine), Version: uint32(elf.EV_CURRENT),
			Entry: headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
		},
		elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
			Filesz: size, Memsz: size, Align: 0x1000,
		},
		arch.code,
	} {
		if err := binary.Write(&file, binary.LittleEndian, part); err != nil {
			tb.Fatal(err)
		}
	}
	path := filepath.Join(tb.TempDir(), "noop")
	if err := os.WriteFile(path, file.Bytes(), 0o755); err != nil {
		tb.Fatal(err)
	}
	return path
}
