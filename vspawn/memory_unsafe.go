package vspawn

import "unsafe"

// memory is what a Plan's arguments point to: strings, pointer lists and
// structures for the kernel. Its blocks are on the heap, where nothing moves,
// hold no pointer that the collector knows, and are not written again once the
// Plan is compiled, so that any number of children can read them at once.
type memory struct {
	blocks [][]uint64
	room   []uint64 // what is left of the last block
}

const blockWords = 512

// alloc returns n zeroed words.
func (m *memory) alloc(n int) []uint64 {
	if n > len(m.room) {
		m.room = make([]uint64, max(n, blockWords))
		m.blocks = append(m.blocks, m.room)
	}
	s := m.room[:n:n]
	m.room = m.room[n:]
	return s
}

// reset empties the memory, to be used again. Of several blocks it makes one
// that would have done.
func (m *memory) reset() {
	n := 0
	for _, b := range m.blocks {
		n += len(b)
	}
	if len(m.blocks) > 1 {
		m.blocks = [][]uint64{make([]uint64, n)}
	}
	if n > 0 {
		m.room = m.blocks[0]
		clear(m.room)
	}
}

func address(s []uint64) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(s))) }

// str stores a NUL-terminated string.
func (m *memory) str(s string) uintptr {
	w := m.alloc(len(s)/8 + 1) // with a zero behind it
	copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w))), len(s)), s)
	return address(w)
}

// bytes stores bytes.
func (m *memory) bytes(b []byte) uintptr {
	w := m.alloc(len(b)/8 + 1)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w))), len(b)), b)
	return address(w)
}

// strs stores a NULL-terminated list of strings.
func (m *memory) strs(list []string) uintptr {
	w := m.alloc(len(list) + 1)
	pointers := unsafe.Slice((*uintptr)(unsafe.Pointer(unsafe.SliceData(w))), len(list))
	for i, s := range list {
		pointers[i] = m.str(s)
	}
	return address(w)
}

// words64 stores 64-bit words.
func (m *memory) words64(list []uint64) uintptr {
	w := m.alloc(max(1, len(list)))
	copy(w, list)
	return address(w)
}

// words32 stores 32-bit words.
func (m *memory) words32(list []uint32) uintptr {
	w := m.alloc(len(list)/2 + 1)
	copy(unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(w))), len(list)), list)
	return address(w)
}

// prog stores a struct sock_fprog.
func (m *memory) prog(n int, code uintptr) uintptr {
	w := m.alloc(2)
	p := (*struct {
		n    uint16
		code uintptr
	})(unsafe.Pointer(unsafe.SliceData(w)))
	p.n, p.code = uint16(n), code
	return address(w)
}
