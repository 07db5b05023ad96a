package nommu

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// The header in the entry point's code, as _runtime/entry_riscv64.s has it.
const (
	entryMark   = "gonommu1"
	entryHeader = 8 // from the entry point
	entryLength = 40
)

// makeImage gives the file for the kernel: the program, moved to address 0, with
// its relocation table where zeros belong in memory.
func makeImage(links []*program, stack uint64) ([]byte, error) {
	relocs, err := relocations(links)
	if err != nil {
		return nil, err
	}
	p := links[0]
	last := &p.segments[len(p.segments)-1]
	if last.flags&elf.PF_W == 0 {
		return nil, fmt.Errorf("the program has no data")
	}

	// The file is the memory's picture up to the end of the table.
	table := packTable(relocs)
	tableAt := alignUp(last.addr-p.base+uint64(len(last.data)), wordSize)
	tableEnd := tableAt + uint64(len(table))
	file := make([]byte, tableEnd)
	for _, s := range p.segments {
		copy(file[s.addr-p.base:], s.data)
	}
	copy(file[tableAt:], table)
	for _, at := range relocs {
		byteOrder.PutUint64(file[at:], byteOrder.Uint64(file[at:])-p.base)
	}

	entry := p.entry - p.base
	header := file[min(entry+entryHeader, uint64(len(file))):]
	if len(header) < entryLength || !bytes.HasPrefix(header, []byte(entryMark)) {
		return nil, fmt.Errorf("the code at the entry point %#x is not gonommu's", p.entry)
	}
	byteOrder.PutUint64(header[8:], entry)
	byteOrder.PutUint64(header[16:], tableAt)
	byteOrder.PutUint64(header[24:], tableEnd)
	byteOrder.PutUint64(header[32:], alignUp(stack, pageSize))

	var progs []elf.Prog64
	if n := p.note; n != nil {
		progs = append(progs, elf.Prog64{Type: uint32(elf.PT_NOTE), Flags: uint32(n.Flags), Off: n.Vaddr - p.base,
			Vaddr: n.Vaddr - p.base, Paddr: n.Vaddr - p.base, Filesz: n.Filesz, Memsz: n.Memsz, Align: n.Align})
	}
	for i, s := range p.segments {
		addr, size, memory := s.addr-p.base, uint64(len(s.data)), s.memory
		if i == len(p.segments)-1 {
			size = tableEnd - addr
			memory = max(memory, size)
		}
		progs = append(progs, elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(s.flags), Off: addr, Vaddr: addr,
			Paddr: addr, Filesz: size, Memsz: memory, Align: pageSize})
	}
	progs = append(progs, elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W),
		Memsz: stack, Align: 16})
	h := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_RISCV), Version: uint32(elf.EV_CURRENT),
		Entry: entry, Flags: p.eflags,
		Phoff: headerSize, Ehsize: headerSize, Phentsize: progSize, Phnum: uint16(len(progs)),
	}
	copy(h.Ident[:], []byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)})
	var headers bytes.Buffer
	if err := binary.Write(&headers, byteOrder, h); err != nil {
		return nil, err
	}
	if err := binary.Write(&headers, byteOrder, progs); err != nil {
		return nil, err
	}
	if uint64(headers.Len()) > p.headers {
		return nil, fmt.Errorf("no room for %d program headers", len(progs))
	}
	clear(file[:p.headers])
	copy(file, headers.Bytes())
	return file, nil
}

func alignUp(n, to uint64) uint64 { return (n + to - 1) / to * to }
