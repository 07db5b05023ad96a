// Package arch is the table of Linux architectures: what each is called, by whom,
// and which programs run it.
package arch

import (
	"slices"
	"strings"
)

// An Arch is an architecture that Go has for Linux.
type Arch struct {
	GOARCH string

	// Stubs says that package asm has it, and so that all tests run on it.
	Stubs bool

	// Variable is the variable of go env that is the architecture's own, such as
	// GOARM64: what is compiled depends on it. loong64 and s390x have none.
	Variable string

	// Debian is Debian's name of it.
	Debian string

	// QEMU is QEMU's name of it: qemu-QEMU runs one program.
	QEMU string

	// System is the name of the emulator of a whole machine, qemu-system-System,
	// and SystemPackage the Debian package that it comes in: with the
	// newest name first, if the name depends on the release, separated by "|".
	System        string
	SystemPackage string

	// GDB is what gdb's "set architecture" takes.
	GDB string
}

const (
	x86   = "qemu-system-x86"
	arm   = "qemu-system-arm"
	mips  = "qemu-system-mips"
	ppc   = "qemu-system-ppc"
	misc  = "qemu-system-misc"
	riscv = "qemu-system-riscv|" + misc
	s390x = "qemu-system-s390x|" + misc
)

// All is the table. A test compares it with what the go command and package asm
// know.
var All = []Arch{
	{"386", false, "GO386", "i386", "i386", "i386", x86, "i386"},
	{"amd64", true, "GOAMD64", "amd64", "x86_64", "x86_64", x86, "i386:x86-64"},
	{"arm", false, "GOARM", "armhf", "arm", "arm", arm, "arm"},
	{"arm64", true, "GOARM64", "arm64", "aarch64", "aarch64", arm, "aarch64"},
	{"loong64", false, "", "loong64", "loongarch64", "loongarch64", misc, "Loongarch64"},
	{"mips", false, "GOMIPS", "mips", "mips", "mips", mips, "mips"},
	{"mips64", false, "GOMIPS64", "mips64", "mips64", "mips64", mips, "mips:isa64r2"},
	{"mips64le", false, "GOMIPS64", "mips64el", "mips64el", "mips64el", mips, "mips:isa64r2"},
	{"mipsle", false, "GOMIPS", "mipsel", "mipsel", "mipsel", mips, "mips"},
	{"ppc64", false, "GOPPC64", "ppc64", "ppc64", "ppc64", ppc, "powerpc:common64"},
	{"ppc64le", false, "GOPPC64", "ppc64el", "ppc64le", "ppc64", ppc, "powerpc:common64"},
	{"riscv64", true, "GORISCV64", "riscv64", "riscv64", "riscv64", riscv, "riscv:rv64"},
	{"s390x", false, "", "s390x", "s390x", "s390x", s390x, "s390:64-bit"},
}

// UserPackage is the Debian package of all emulators that run one program.
const UserPackage = "qemu-user"

// User is the emulator that runs one program for the architecture.
func (a Arch) User() string { return "qemu-" + a.QEMU }

// SystemProgram is the emulator of a whole machine.
func (a Arch) SystemProgram() string { return "qemu-system-" + a.System }

// Of is the row of goarch. One that is not in the table has Go's name everywhere.
func Of(goarch string) Arch {
	for _, a := range All {
		if a.GOARCH == goarch {
			return a
		}
	}
	return Arch{GOARCH: goarch, Debian: goarch, QEMU: goarch, System: goarch}
}

// WithStubs are the architectures that package asm has.
func WithStubs() []Arch {
	return slices.DeleteFunc(slices.Clone(All), func(a Arch) bool { return !a.Stubs })
}

// Variables are the names of all variables of go env that are an architecture's own.
func Variables() (names []string) {
	for _, a := range All {
		if a.Variable != "" && !slices.Contains(names, a.Variable) {
			names = append(names, a.Variable)
		}
	}
	return names
}

// List names the architectures that package asm has, as a sentence does:
// "a, b and c", where word is "and".
func List(word string) string {
	var names []string
	for _, a := range WithStubs() {
		names = append(names, a.GOARCH)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " " + word + " " + names[last]
}
