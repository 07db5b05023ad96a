// Command probe links both stubs, for their disassembly. It is never run.
package main

import "github.com/vspawn/vspawn/asm"

//go:noinline
func callVfork() uintptr { return asm.Vfork() }

//go:noinline
func callVforkByValue(vfork func() uintptr) uintptr { return vfork() }

func main() {
	asm.Spawn(new(asm.Program))
	callVfork()
	callVforkByValue(asm.Vfork)
}
