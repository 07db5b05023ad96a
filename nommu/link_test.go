package nommu

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// A program fits into a block of its own size, and not into one of a byte less.
func TestFits(t *testing.T) {
	for maxOrder := range 12 {
		l := linking{maxOrder: maxOrder}
		block := uint64(pageSize) << maxOrder
		const base = 0x100_0000
		spans := func(n uint64) *program {
			return &program{base: base, segments: []segment{{addr: base, memory: n}}}
		}
		if err := l.fits(spans(block)); err != nil {
			t.Errorf("order %d: a program of a whole block: %v", maxOrder, err)
		}
		var input *InputError
		if err := l.fits(spans(block + 1)); !errors.As(err, &input) {
			t.Errorf("order %d: a program of a byte more than a block: %v", maxOrder, err)
		}
		if got := order(block); got != maxOrder {
			t.Errorf("%d bytes take a block of order %d, want %d", block, got, maxOrder)
		}
	}
}

// The kernel puts a program at the beginning of a page. A section that wants
// more would be at a place that it can't bear.
func TestSectionAlignment(t *testing.T) {
	for _, c := range []struct {
		flags elf.SectionFlag
		align uint64
		want  string
	}{
		{elf.SHF_ALLOC, pageSize, ""},
		{elf.SHF_ALLOC, pageSize * 2, "section .x wants an alignment of 8192"},
		{0, pageSize * 2, ""}, // it is not in memory
	} {
		file := withSection(t, newSketch(0x100_0000), elf.Section64{
			Type: uint32(elf.SHT_PROGBITS), Flags: uint64(c.flags), Addr: 0x100_2000, Off: 2 * pageSize, Size: 8, Addralign: c.align,
		})
		_, err := readProgram(bytes.NewReader(file), int64(len(file)))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("flags %v, alignment %d: got %v, want %q", c.flags, c.align, err, c.want)
		}
	}
}

// withSection gives a sketch's file with a section, which is called .x.
func withSection(t *testing.T, s *sketch, section elf.Section64) []byte {
	t.Helper()
	const names = "\x00.x\x00"
	length := uint64(len(s.file(t)))
	s.edit = func(h *elf.Header64, _ []elf.Prog64) {
		h.Shoff, h.Shentsize, h.Shnum, h.Shstrndx = length+uint64(len(names)), 64, 3, 2
	}
	section.Name = 1
	b := bytes.NewBuffer(append(s.file(t), names...))
	err := binary.Write(b, byteOrder, []elf.Section64{{}, section,
		{Type: uint32(elf.SHT_STRTAB), Off: length, Size: uint64(len(names)), Addralign: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The go command links again when other options of ours would give another
// file, though its own are the same.
func TestBuildAgain(t *testing.T) {
	dir := files(t, map[string]string{"go.mod": goMod, "main.go": "package main\n\nfunc main() {}\n"})
	out := filepath.Join(dir, "out")
	build := func(stack uint64, maxOrder int) error {
		return Build(t.Context(), Options{Dir: dir, Args: []string{"-o", out, "."}, Stack: stack, MaxOrder: maxOrder})
	}
	var info *Info
	for _, stack := range []uint64{1 << 20, 2 << 20, 1 << 20} {
		if err := build(stack, 0); err != nil {
			t.Fatal(err)
		}
		var err error
		if info, err = Inspect(out); err != nil || info.Stack != stack {
			t.Errorf("built with a stack of %d: got %+v, %v", stack, info, err)
		}
	}
	var input *InputError
	if err := build(1<<20, info.Order-1); !errors.As(err, &input) {
		t.Errorf("for a kernel with smaller blocks: %v", err)
	}
	if err := build(1<<20, info.Order); err != nil {
		t.Error("for one with blocks that are just large enough: ", err)
	}
}
