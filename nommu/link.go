package nommu

import (
	"debug/elf"
	"fmt"
	"io"
)

// A segment is a part of the program's memory.
type segment struct {
	addr   uint64
	memory uint64 // bytes in memory; those after data are zero
	flags  elf.ProgFlag
	data   []byte
}

// A program is what the linker made for one address.
type program struct {
	base, entry uint64
	eflags      uint32
	headers     uint64 // bytes of the ELF header and the program headers at base
	segments    []segment
	note        *elf.ProgHeader // the notes, with the build's ID, if there are any
}

// end is the first address behind the program.
func (p *program) end() uint64 {
	last := p.segments[len(p.segments)-1]
	return last.addr + last.memory
}

const (
	pageSize    = 4096
	headerSize  = 64 // ELF header
	progSize    = 56 // program header
	largestSpan = 1 << 32
)

// readProgram reads an executable at a fixed address, with no dynamic linking.
func readProgram(r io.ReaderAt, size int64) (*program, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("not an ELF file: %w", err)
	}
	if err := checkMachine(&f.FileHeader); err != nil {
		return nil, err
	}
	if f.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("an ELF file of type %v, where an executable at a fixed address was expected", f.Type)
	}
	flags, err := elfFlags(r)
	if err != nil {
		return nil, err
	}
	p := &program{
		entry:   f.Entry,
		eflags:  flags,
		headers: headerSize + uint64(len(f.Progs))*progSize,
	}
	for _, prog := range f.Progs {
		switch prog.Type {
		case elf.PT_INTERP, elf.PT_DYNAMIC:
			return nil, fmt.Errorf("the program is linked dynamically (%v): it uses cgo, or external linking", prog.Type)
		case elf.PT_NOTE:
			p.note = &prog.ProgHeader
		case elf.PT_LOAD:
			s, err := readSegment(prog, size)
			if err != nil {
				return nil, err
			}
			if n := len(p.segments); n > 0 && s.addr < p.end() {
				return nil, fmt.Errorf("the segment at %#x begins before the end of that at %#x", s.addr, p.segments[n-1].addr)
			}
			p.segments = append(p.segments, s)
		}
	}
	if len(p.segments) == 0 {
		return nil, fmt.Errorf("nothing to load: no PT_LOAD segment")
	}
	p.base = p.segments[0].addr
	if n := p.note; n != nil && (n.Vaddr < p.base || n.Vaddr > p.end() || n.Memsz > p.end()-n.Vaddr) {
		return nil, fmt.Errorf("the notes at %#x are not in the program", n.Vaddr)
	}
	if p.end()-p.base > largestSpan {
		return nil, fmt.Errorf("the program spans %#x bytes", p.end()-p.base)
	}
	if uint64(len(p.segments[0].data)) < p.headers {
		return nil, fmt.Errorf("the first segment does not hold the headers")
	}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 && s.Addralign > pageSize {
			return nil, fmt.Errorf("section %s wants an alignment of %d, and the kernel gives no more than %d", s.Name, s.Addralign, pageSize)
		}
	}
	return p, nil
}

func checkMachine(h *elf.FileHeader) error {
	if h.Machine != elf.EM_RISCV || h.Class != elf.ELFCLASS64 || h.Data != elf.ELFDATA2LSB {
		return fmt.Errorf("an ELF file for %v, %v, %v, and not for riscv64", h.Machine, h.Class, h.Data)
	}
	return nil
}

// elfFlags reads the one field of a header that debug/elf leaves out.
func elfFlags(r io.ReaderAt) (uint32, error) {
	var b [4]byte
	if _, err := r.ReadAt(b[:], 48); err != nil {
		return 0, fmt.Errorf("flags of the ELF header: %w", err)
	}
	return byteOrder.Uint32(b[:]), nil
}

func readSegment(prog *elf.Prog, size int64) (segment, error) {
	switch {
	case prog.Vaddr%pageSize != 0:
		return segment{}, fmt.Errorf("the segment at %#x does not begin a page", prog.Vaddr)
	case prog.Filesz > prog.Memsz:
		return segment{}, fmt.Errorf("the segment at %#x has %d bytes in the file and %d in memory", prog.Vaddr, prog.Filesz, prog.Memsz)
	case prog.Filesz > uint64(size) || prog.Off > uint64(size)-prog.Filesz:
		return segment{}, fmt.Errorf("the segment at %#x goes beyond the end of the file", prog.Vaddr)
	case prog.Memsz > largestSpan || prog.Vaddr > 1<<62:
		return segment{}, fmt.Errorf("the segment at %#x has %#x bytes", prog.Vaddr, prog.Memsz)
	}
	data := make([]byte, prog.Filesz)
	if _, err := prog.ReadAt(data, 0); err != nil && len(data) > 0 {
		return segment{}, fmt.Errorf("the segment at %#x: %w", prog.Vaddr, err)
	}
	return segment{addr: prog.Vaddr, memory: prog.Memsz, flags: prog.Flags, data: data}, nil
}
