//go:build linux

package vspawn

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vspawn/vspawn/tests/helper"
)

// Machine code by GOARCH.
var (
	exitAtOnce = map[string][]uint32{
		"amd64":   {0xe7b8ff31, 0x0f000000, 0x90909005}, // xor edi, edi; mov eax, exit_group; syscall
		"arm64":   {0xd2800000, 0xd2800bc8, 0xd4000001}, // mov x0, 0; mov x8, exit_group; svc 0
		"riscv64": {0x00000513, 0x05e00893, 0x00000073}, // li a0, 0; li a7, exit_group; ecall
	}
	sleepForEver = map[string][]uint32{
		"amd64": {0x000022b8, 0xeb050f00, 0x909090f7}, // mov eax, pause; syscall; jmp back
		"arm64": {0xd2800928, 0xd4000001, 0x17fffffe}, // mov x8, ppoll; svc 0; b back; execve has cleared the registers
		"riscv64": {0x00000513, 0x00000593, 0x00000613, 0x00000693, 0x00000713, // li a0 to a4, 0: here it hasn't
			0x04900893, 0x00000073, 0xfe5ff06f}, // li a7, ppoll; ecall; j back
	}
)

// tinyProgram writes a static program of an ELF header, one program header and
// a few instructions: starting it costs as little as a start can.
func tinyProgram(tb testing.TB, code map[string][]uint32) string {
	helper.SkipEmulated(tb, "way to start a program for its own machine")
	const headers = 64 + 56
	machine := map[string]uint16{"amd64": 62, "arm64": 183, "riscv64": 243}[runtime.GOARCH]
	if machine == 0 {
		tb.Skipf("no code for %s", runtime.GOARCH)
	}
	le := binary.LittleEndian
	f := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	f = le.AppendUint16(f, 3) // ET_DYN: it runs anywhere, as it must without an MMU
	f = le.AppendUint16(f, machine)
	f = le.AppendUint32(f, 1)
	for _, v := range []uint64{headers, 64, 0} { // entry, program headers, sections
		f = le.AppendUint64(f, v)
	}
	f = le.AppendUint32(f, 0)
	for _, v := range []uint16{64, 56, 1, 64, 0, 0} {
		f = le.AppendUint16(f, v)
	}
	size := uint64(headers + 4*len(code[runtime.GOARCH]))
	f = le.AppendUint32(f, 1) // PT_LOAD
	f = le.AppendUint32(f, 5) // read, execute
	for _, v := range []uint64{0, 0, 0, size, size, 0x1000} {
		f = le.AppendUint64(f, v)
	}
	for _, w := range code[runtime.GOARCH] {
		f = le.AppendUint32(f, w)
	}
	path := filepath.Join(tb.TempDir(), "tiny")
	if err := os.WriteFile(path, f, 0o755); err != nil {
		tb.Fatal(err)
	}
	return path
}
