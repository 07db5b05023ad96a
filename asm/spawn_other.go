//go:build !(linux && (amd64 || arm64 || riscv64))

package asm

// Supported tells whether this architecture has a stub.
const Supported = false

// Spawn panics where Supported is false.
func Spawn(*Program) uintptr { panic("asm.Spawn: no stub for this system") }

// Vfork panics where Supported is false.
func Vfork() uintptr { panic("asm.Vfork: no stub for this system") }
