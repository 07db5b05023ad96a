package nommu

import (
	"debug/elf"
	"fmt"
	"io"
	"math/bits"
	"os"
)

// Info describes a file that Build made.
type Info struct {
	// Span is how many bytes the program takes in memory, code, data and
	// zeros: whole pages, in one block.
	Span uint64
	// Order is the size of the block that the kernel must have free for it: 4
	// KiB shifted left by Order. What is left of it the kernel takes back.
	Order int
	// Relocations is the number of words that are relocated at the start, and
	// Table how many bytes of the file tell which.
	Relocations, Table int
	// Stack is the size of the first thread's stack.
	Stack uint64
	// File is the size of the file.
	File int64
}

// Start is how many bytes a process needs for its first instruction.
func (i *Info) Start() uint64 { return i.Span + alignUp(i.Stack, pageSize) }

// Inspect reads a file that Build made.
func Inspect(name string) (*Info, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, inputErrorf("%w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, inputErrorf("%w", err)
	}
	if !fi.Mode().IsRegular() {
		return nil, inputErrorf("%s: not a regular file", name)
	}
	info, err := readInfo(f, fi.Size())
	if err != nil {
		return nil, inputErrorf("%s: %w", name, err)
	}
	return info, nil
}

func readInfo(r io.ReaderAt, size int64) (*Info, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("not an ELF file: %w", err)
	}
	if err := checkMachine(&f.FileHeader); err != nil {
		return nil, err
	}
	if f.Type != elf.ET_DYN {
		return nil, fmt.Errorf("an ELF file of type %v, for a kernel with an MMU", f.Type)
	}
	info := &Info{File: size}
	var end uint64
	var memory []segment
	for _, prog := range f.Progs {
		switch prog.Type {
		case elf.PT_GNU_STACK:
			info.Stack = prog.Memsz
		case elf.PT_LOAD:
			s, err := readSegment(prog, size)
			if err != nil {
				return nil, err
			}
			memory = append(memory, s)
			end = max(end, s.addr+s.memory)
		}
	}
	if end == 0 || end > largestSpan || info.Stack > largestSpan {
		return nil, fmt.Errorf("the program spans %#x bytes, with a stack of %#x", end, info.Stack)
	}
	info.Span = alignUp(end, pageSize)
	info.Order = order(info.Span)

	header, err := bytesAt(memory, f.Entry+entryHeader, entryLength)
	if err != nil || string(header[:len(entryMark)]) != entryMark {
		return nil, fmt.Errorf("not made by gonommu: its entry point is another")
	}
	if byteOrder.Uint64(header[8:]) != f.Entry {
		return nil, fmt.Errorf("the header at the entry point is for %#x, and the entry point is %#x", byteOrder.Uint64(header[8:]), f.Entry)
	}
	from, to := byteOrder.Uint64(header[16:]), byteOrder.Uint64(header[24:])
	table, err := bytesAt(memory, from, to-from)
	if err != nil {
		return nil, fmt.Errorf("the relocation table: %w", err)
	}
	relocs, err := unpackTable(table, from)
	if err != nil {
		return nil, err
	}
	info.Relocations, info.Table = len(relocs), len(table)
	return info, nil
}

// order is the number of times that a page must be doubled to hold size.
func order(size uint64) int { return bits.Len64((size - 1) / pageSize) }

// bytesAt gives the bytes of the file that are loaded at an address.
func bytesAt(segments []segment, addr, n uint64) ([]byte, error) {
	for _, s := range segments {
		if size := uint64(len(s.data)); addr >= s.addr && addr-s.addr <= size && n <= size-(addr-s.addr) {
			return s.data[addr-s.addr:][:n], nil
		}
	}
	return nil, fmt.Errorf("no segment has %d bytes of the file at %#x", n, addr)
}
