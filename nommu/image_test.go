package nommu

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// A sketch is a program of two segments, to be linked anywhere.
type sketch struct {
	base  uint64
	code  []byte          // at base+pageSize
	data  []byte          // at base+2*pageSize
	words map[uint64]word // by address, counted from base
	zeros uint64          // after data
	edit  func(*elf.Header64, []elf.Prog64)
}

// A word is a number and what is added for the base.
type word struct{ number, bases uint64 }

// newSketch has pointers in code and data, and gonommu's entry point.
func newSketch(base uint64) *sketch {
	s := &sketch{
		base:  base,
		code:  make([]byte, 256),
		data:  make([]byte, 100), // no whole number of words
		zeros: 5000,
		words: map[uint64]word{
			pageSize:                 {pageSize + 8, 1},
			pageSize + 128:           {7, 0},
			2 * pageSize:             {2 * pageSize, 1},
			2*pageSize + 8:           {2*pageSize + 5100, 1},
			2*pageSize + 11*wordSize: {pageSize + 3, 1},
		},
	}
	copy(s.code[sketchEntry+entryHeader:], entryMark)
	return s
}

const sketchEntry = 16 // in code

func (s *sketch) file(t testing.TB) []byte {
	t.Helper()
	file := make([]byte, 2*pageSize)
	copy(file[pageSize:], s.code)
	file = append(file, s.data...)
	for at, w := range s.words {
		byteOrder.PutUint64(file[at:], w.number+w.bases*s.base)
	}
	progs := []elf.Prog64{
		{Type: uint32(elf.PT_PHDR), Flags: uint32(elf.PF_R)},
		{Type: uint32(elf.PT_NOTE), Flags: uint32(elf.PF_R), Off: 3000, Vaddr: s.base + 3000, Filesz: 4, Memsz: 4, Align: 4},
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: s.base, Filesz: pageSize + uint64(len(s.code)), Memsz: pageSize + uint64(len(s.code)), Align: pageSize},
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Off: 2 * pageSize, Vaddr: s.base + 2*pageSize, Filesz: uint64(len(s.data)), Memsz: uint64(len(s.data)) + s.zeros, Align: pageSize},
	}
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_RISCV), Version: 1, Entry: s.base + pageSize + sketchEntry, Flags: 4,
		Phoff: headerSize, Ehsize: headerSize, Phentsize: progSize, Phnum: uint16(len(progs)),
	}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	if s.edit != nil {
		s.edit(&h, progs)
	}
	var b bytes.Buffer
	if err := binary.Write(&b, byteOrder, h); err != nil {
		t.Fatal(err)
	}
	if err := binary.Write(&b, byteOrder, progs); err != nil {
		t.Fatal(err)
	}
	copy(file, b.Bytes())
	return file
}

func (s *sketch) link(t testing.TB) (*program, error) {
	file := s.file(t)
	return readProgram(bytes.NewReader(file), int64(len(file)))
}

// links gives the three links of a program that change makes of the usual one.
func links(t *testing.T, change func(i int, s *sketch)) []*program {
	t.Helper()
	var all []*program
	for i, base := range []uint64{0x100_0000, 0x235_0000, 0x7ec8_0000} {
		s := newSketch(base)
		if change != nil {
			change(i, s)
		}
		p, err := s.link(t)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// The image, put somewhere and relocated as _runtime/entry_riscv64.s does it, is
// what the linker would have made for that place.
func TestMakeImage(t *testing.T) {
	const stack, place = 100_000, 0x8765_4000
	image, err := makeImage(links(t, nil), stack)
	if err != nil {
		t.Fatal(err)
	}
	info, err := readInfo(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Info{Span: 4 * pageSize, Order: 2, Relocations: 4, Table: info.Table, Stack: stack,
		File: int64(len(image))}); *info != want {
		t.Errorf("got %+v, want %+v", *info, want)
	}

	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	header := image[f.Entry+entryHeader:]
	from, to := byteOrder.Uint64(header[16:]), byteOrder.Uint64(header[24:])
	if size := byteOrder.Uint64(header[32:]); size != alignUp(stack, pageSize) {
		t.Errorf("the header has a stack of %d", size)
	}
	addrs, err := unpackTable(image[from:to], to)
	if err != nil {
		t.Fatal(err)
	}
	memory := make([]byte, info.Span)
	copy(memory, image)
	for _, at := range addrs {
		byteOrder.PutUint64(memory[at:], byteOrder.Uint64(memory[at:])+place)
	}
	clear(memory[from:to])

	want := make([]byte, info.Span)
	copy(want, newSketch(place).file(t))
	copy(want[f.Entry+entryHeader+8:], header[8:entryLength]) // filled in
	if got := memory[pageSize:]; !bytes.Equal(got, want[pageSize:]) {
		t.Error("the memory is not what a link for that address has")
	}
}

func TestMakeImageRefuses(t *testing.T) {
	const at = 2*pageSize + 40
	for _, c := range []struct {
		name   string
		change func(i int, s *sketch)
		want   string
	}{
		{"twice the address", func(i int, s *sketch) { s.words[at] = word{0, 2} }, "at address 0x1002028"},
		{"a page number", func(i int, s *sketch) { s.words[at] = word{s.base >> 12, 0} }, "is no address"},
		{"not a whole word", func(i int, s *sketch) { s.words[at+4] = word{0, 1} }, "is no address"},
		{"the third differs", func(i int, s *sketch) {
			if i == 2 {
				s.words[at] = word{1, 0}
			}
		}, "is no address"},
		{"the third does not", func(i int, s *sketch) {
			if s.words[at] = (word{0, 1}); i == 2 {
				s.words[at] = word{0x100_0000, 0}
			}
		}, "is no address"},
		{"the last bytes", func(i int, s *sketch) { s.data[99] = byte(i) }, "the last bytes depend"},
		{"a larger segment", func(i int, s *sketch) { s.zeros += uint64(i) }, "other segments at 0x1002000"},
		{"another entry point", func(i int, s *sketch) {
			s.edit = func(h *elf.Header64, _ []elf.Prog64) { h.Entry += uint64(i) }
		}, "other entry points"},
		{"not our entry point", func(i int, s *sketch) {
			s.edit = func(h *elf.Header64, _ []elf.Prog64) { h.Entry += 8 }
		}, "is not gonommu's"},
		{"no data", func(i int, s *sketch) {
			s.edit = func(_ *elf.Header64, p []elf.Prog64) { p[3].Flags = uint32(elf.PF_R) }
		}, "no data"},
	} {
		if image, err := makeImage(links(t, c.change), 0); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %d bytes, %v; want an error with %q", c.name, len(image), err, c.want)
		}
	}
}

func TestReadProgramRefuses(t *testing.T) {
	const code, data = 2, 3
	for _, c := range []struct {
		name string
		edit func(*elf.Header64, []elf.Prog64)
		want string
	}{
		{"another machine", func(h *elf.Header64, _ []elf.Prog64) { h.Machine = uint16(elf.EM_AARCH64) }, "EM_AARCH64"},
		{"another kind of file", func(h *elf.Header64, _ []elf.Prog64) { h.Type = uint16(elf.ET_REL) }, "ET_REL"},
		{"an interpreter", func(_ *elf.Header64, p []elf.Prog64) { p[1].Type = uint32(elf.PT_INTERP) }, "linked dynamically"},
		{"nothing to load", func(_ *elf.Header64, p []elf.Prog64) { p[code].Type, p[data].Type = 0, 0 }, "nothing to load"},
		{"overlap", func(_ *elf.Header64, p []elf.Prog64) { p[data].Vaddr = p[code].Vaddr }, "before the end"},
		{"inside a page", func(_ *elf.Header64, p []elf.Prog64) { p[data].Vaddr++ }, "does not begin a page"},
		{"beyond the file", func(_ *elf.Header64, p []elf.Prog64) { p[data].Off += 1 }, "beyond the end of the file"},
		{"far beyond it", func(_ *elf.Header64, p []elf.Prog64) { p[data].Off = 1 << 62 }, "beyond the end of the file"},
		{"more in the file than in memory", func(_ *elf.Header64, p []elf.Prog64) { p[data].Memsz = 1 }, "and 1 in memory"},
		{"too large", func(_ *elf.Header64, p []elf.Prog64) { p[data].Memsz = 1 << 60 }, "0x1000000000000000 bytes"},
		{"too far apart", func(_ *elf.Header64, p []elf.Prog64) { p[data].Vaddr += 1 << 40 }, "spans"},
		{"notes elsewhere", func(_ *elf.Header64, p []elf.Prog64) { p[1].Vaddr = p[code].Vaddr - 8 }, "the notes at"},
		{"no headers", func(_ *elf.Header64, p []elf.Prog64) { p[code].Filesz = 100 }, "does not hold the headers"},
	} {
		s := newSketch(0x100_0000)
		s.edit = c.edit
		if _, err := s.link(t); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// Whatever a file holds, it is read or refused, and what is read can be written.
func FuzzReadProgram(f *testing.F) {
	f.Add(newSketch(0x100_0000).file(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := readProgram(bytes.NewReader(b), int64(len(b)))
		if err != nil || p.end()-p.base > 1<<24 {
			return
		}
		image, err := makeImage([]*program{p, p, p}, 1<<16)
		if err != nil {
			return
		}
		if _, err := readInfo(bytes.NewReader(image), int64(len(image))); err != nil {
			t.Error(err)
		}
	})
}

func FuzzReadInfo(f *testing.F) {
	p, err := newSketch(0x100_0000).link(f)
	if err != nil {
		f.Fatal(err)
	}
	image, err := makeImage([]*program{p, p, p}, 1<<16)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(image)
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := readInfo(bytes.NewReader(b), int64(len(b)))
		if err == nil && (info.Span%pageSize != 0 || info.Start() < info.Span || info.Table > len(b)) {
			t.Errorf("got %+v of %d bytes", info, len(b))
		}
	})
}

func FuzzUnpackTable(f *testing.F) {
	f.Add(packTable([]uint64{0, 8, 24, 504, 512, 4096}), uint64(1<<16))
	f.Fuzz(func(t *testing.T, table []byte, limit uint64) {
		addrs, err := unpackTable(table, limit)
		if err != nil || len(addrs) == 0 {
			return
		}
		again, err := unpackTable(packTable(addrs), limit)
		if err != nil || !slices.Equal(again, addrs) {
			t.Errorf("packed again, %d addresses became %d, %v", len(addrs), len(again), err)
		}
	})
}
