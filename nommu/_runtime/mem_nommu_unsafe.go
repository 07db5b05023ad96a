package runtime

import "unsafe"

// Memory as a kernel without an MMU gives it: what is mapped is there, at an
// address of the kernel's choice, and cannot be protected. Reserving memory is
// getting it.

// A place cannot be asked for.
func sysReserveOS(v unsafe.Pointer, n uintptr, vmaName string) unsafe.Pointer {
	if v != nil {
		return nil
	}
	p, err := mmap(nil, n, _PROT_READ|_PROT_WRITE, _MAP_ANON|_MAP_PRIVATE, -1, 0)
	if err != 0 {
		return nil
	}
	return p
}

// The kernel takes memory from its page allocator in blocks of powers of two,
// each aligned to its size, and takes back what was not asked for. So a block of
// an alignment's size or more has that alignment, and only another kernel, such as
// an emulator, makes the second attempt necessary.
func sysReserveAligned(v unsafe.Pointer, size, align uintptr, vmaName string) (unsafe.Pointer, uintptr) {
	size = alignUp(size, align)
	p := sysReserve(v, size, vmaName)
	if uintptr(p)&(align-1) == 0 {
		return p, size
	}
	sysFreeOS(p, size)
	p = sysReserve(v, size+align, vmaName)
	if p == nil {
		return nil, 0
	}
	aligned := alignUp(uintptr(p), align)
	if before := aligned - uintptr(p); before > 0 {
		sysFreeOS(p, before)
	}
	if after := uintptr(p) + align - aligned; after > 0 {
		sysFreeOS(unsafe.Pointer(aligned+size), after)
	}
	return unsafe.Pointer(aligned), size
}

func sysMapOS(v unsafe.Pointer, n uintptr, vmaName string) {}

func sysUnusedOS(v unsafe.Pointer, n uintptr) {}

func sysUsedOS(v unsafe.Pointer, n uintptr) {}

func sysHugePageOS(v unsafe.Pointer, n uintptr) {}

func sysNoHugePageOS(v unsafe.Pointer, n uintptr) {}

func sysHugePageCollapseOS(v unsafe.Pointer, n uintptr) {}

func sysFaultOS(v unsafe.Pointer, n uintptr) {}

func needZeroAfterSysUnusedOS() bool { return true }
