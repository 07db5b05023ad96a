//go:build !(linux && (amd64 || arm64 || riscv64))

package asm

// vforkFlags has no flags where there are no stubs. The line above is the only one
// of the module that names the architectures which have them: one that is
// missing there has two values for it, and doesn't compile.
const vforkFlags = 0
