package runtime

import "unsafe"

// Where an access of memory that is not there ends in an access fault, and not in
// a page fault, the kernel gives the address of the instruction for the one that
// it used. A nil pointer would not be told from a stray one. So the address is
// computed again from the instruction and the registers.

func (c *sigctxt) sigaddr() uint64 {
	addr, pc := c.mmuSigaddr(), c.pc()
	if addr != pc || !findfunc(uintptr(pc)).valid() {
		return addr // of another fault, or the code itself is not there
	}
	regs := (*[32]uint64)(unsafe.Pointer(&c.regs().sc_regs)) // pc, x1 to x31
	insn := uint32(*(*uint16)(unsafe.Pointer(uintptr(pc))))
	if insn&3 == 3 {
		insn |= uint32(*(*uint16)(unsafe.Pointer(uintptr(pc + 2)))) << 16
	}
	base, offset := accessOf(insn)
	if base == 0 {
		return addr
	}
	return regs[base] + uint64(offset)
}

// accessOf gives the register and the offset that a load or a store goes by; 0 is
// no such register.
func accessOf(insn uint32) (base uint32, offset int64) {
	const (
		load    = 0x03
		loadFP  = 0x07
		store   = 0x23
		storeFP = 0x27
		atomics = 0x2f
	)
	switch base = insn >> 15 & 31; insn & 0x7f {
	case load, loadFP:
		return base, int64(int32(insn) >> 20)
	case store, storeFP:
		return base, int64(int32(insn)>>25<<5 | int32(insn>>7&31))
	case atomics:
		return base, 0
	}
	if insn&3 != 0 {
		return 0, 0
	}
	// Compressed: c.fld, c.lw, c.ld, and the same for stores.
	base = 8 + insn>>7&7
	offset = int64(insn >> 10 & 7 << 3)
	switch insn >> 13 & 3 {
	case 1, 3:
		return base, offset | int64(insn>>5&3<<6)
	case 2:
		return base, offset | int64(insn>>6&1<<2|insn>>5&1<<6)
	}
	return 0, 0
}
