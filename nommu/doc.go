// Package nommu builds Go programs that a riscv64 Linux kernel without an MMU
// loads. It needs the go command and no C toolchain.
//
// Such a kernel puts a program anywhere in physical memory, in one block, and
// applies no relocations. So a program is linked at three addresses: the words
// in which the first two differ are those that hold an address, the third shows
// that they are all, and a new entry point adds the place where the kernel put
// the program to each of them. The Go runtime is changed for the build, by edits
// of the user's own GOROOT through an overlay: it reserves no memory that it
// does not need, as all of it would be real.
//
// Build runs the go command with the calling program itself as -toolexec; it is
// recognized by its first argument, before main starts.
package nommu
