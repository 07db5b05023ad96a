// Command probe links both stubs, for their disassembly. It is never run.
package main

import "github.com/vspawn/vspawn/asm"

//go:noinline
func callVfork() uintptr { return asm.Vfork() }

//go:noinline
func call(f func() uintptr) uintptr { return f() }

func main() {
	asm.Spawn(new(asm.Program))
	callVfork()
	call(asm.Vfork)
}
