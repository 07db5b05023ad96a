package vspawn

import "unsafe"

// pointer is the address of something on the heap.
func pointer[T any](p *T) uintptr {
	escaped = p
	return uintptr(unsafe.Pointer(p))
}

var escaped any
