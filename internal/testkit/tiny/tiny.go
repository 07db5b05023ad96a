//go:build linux

// Package tiny makes programs of a few instructions. They start in no time even
// in an emulated machine, where a Go program takes a good part of a second, and
// they change nothing of what they were given, as a Go program's runtime does.
package tiny

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// machines are those that there are programs for.
var machines = map[string]struct {
	elf  elf.Machine
	exit func(status byte) []byte // the code of exit_group(status)

	sleep []byte // of a loop of pause, or of ppoll for no descriptor and no time
}{
	"amd64": {elf.EM_X86_64, func(status byte) []byte {
		return []byte{0xbf, status, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05}
	}, []byte{0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7}},
	"arm64": {elf.EM_AARCH64, func(status byte) []byte {
		return []byte{status << 5, status >> 3, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4}
	}, []byte{
		0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00, 0x80, 0xd2, 0x03, 0x00, 0x80, 0xd2,
		0x04, 0x00, 0x80, 0xd2, 0x28, 0x09, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, 0xf9, 0xff, 0xff, 0x17,
	}},
	"riscv64": {elf.EM_RISCV, func(status byte) []byte {
		return []byte{0x13, 5, status << 4, status >> 4, 0x93, 8, 0xe0, 5, 0x73, 0, 0, 0}
	}, []byte{
		0x13, 0x05, 0x00, 0x00, 0x93, 0x05, 0x00, 0x00, 0x13, 0x06, 0x00, 0x00, 0x93, 0x06, 0x00, 0x00,
		0x13, 0x07, 0x00, 0x00, 0x93, 0x08, 0x90, 0x04, 0x73, 0x00, 0x00, 0x00, 0x6f, 0xf0, 0x5f, 0xfe,
	}},
}

// Exit is the path of a program that ends with status. Everyone may run it, by
// the command line that [helper.Emulate] gives.
func Exit(tb testing.TB, status byte) string {
	tb.Helper()
	return written(tb, fmt.Sprintf("exit%d", status), func(goarch string) []byte { return machines[goarch].exit(status) })
}

// Sleep is the path of a program that sleeps until it is killed.
func Sleep(tb testing.TB) string {
	tb.Helper()
	return written(tb, "sleep", func(goarch string) []byte { return machines[goarch].sleep })
}

var made struct {
	sync.Mutex
	dir string
}

// written is the path of the program called name. The first call writes it, and
// the end of the tests removes it.
func written(tb testing.TB, name string, code func(goarch string) []byte) string {
	tb.Helper()
	if _, ok := machines[runtime.GOARCH]; !ok {
		tb.Skipf("there is no such program for %s", runtime.GOARCH)
	}
	made.Lock()
	defer made.Unlock()
	if made.dir == "" {
		dir, err := os.MkdirTemp("", "tiny-")
		if err != nil {
			tb.Fatal(err)
		}
		helper.AtExit(func() { os.RemoveAll(dir) })
		made.dir = dir
		if err := os.Chmod(dir, 0o755); err != nil { // for children that are other users
			tb.Fatal(err)
		}
	}
	path := filepath.Join(made.dir, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := write(path, code(runtime.GOARCH)); err != nil {
		tb.Fatal(err)
	}
	return path
}

func write(path string, code []byte) error {
	file, err := executable(machines[runtime.GOARCH].elf, code)
	if err != nil {
		return err
	}
	return os.WriteFile(path, file, 0o755)
}

// WritePrograms writes the program that ends with status 0 and the one that sleeps, for one
// that is no test.
func WritePrograms(exit, sleep string) error {
	m, ok := machines[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("there are no tiny programs for %s: %w", runtime.GOARCH, errors.ErrUnsupported)
	}
	return errors.Join(write(exit, m.exit(0)), write(sleep, m.sleep))
}

// stackSize is what a kernel without an MMU gives the program: the puppet's
// frame and as much again.
const stackSize = 128 << 10

// executable is a static program that runs anywhere, so that kernels without an
// MMU load it as well.
func executable(machine elf.Machine, code []byte) ([]byte, error) {
	const headers = 64 + 2*56
	size := uint64(headers + len(code))
	var file bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_DYN), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
			Entry: headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 2,
		},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Filesz: size, Memsz: size, Align: 0x1000},
		elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W), Memsz: stackSize},
		code,
	} {
		if err := binary.Write(&file, binary.LittleEndian, part); err != nil {
			return nil, err
		}
	}
	return file.Bytes(), nil
}
