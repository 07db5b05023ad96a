package exec

import "unsafe"

func pointer(p *int) uintptr { return uintptr(unsafe.Pointer(p)) }
