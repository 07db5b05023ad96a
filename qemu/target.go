package qemu

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/initramfs"
)

// A Target is a kind of machine that tests run on: a row of Targets.
type Target struct {
	Name   string
	GOARCH string

	// Kernel is the Debian package that depends on the newest kernel, or with
	// Source on the newest source of one.
	Kernel string
	// NoMMU wants programs that package nommu has made, for the kernel's
	// MAX_PAGE_ORDER, which is MaxOrder.
	NoMMU    bool
	MaxOrder int
	// Source, if not nil, says how to build the kernel, for a machine that the
	// distribution has none for.
	Source *Source
	// Magic is what a kernel image for this machine holds, to tell at once a
	// file that is none: QEMU runs whatever it is given, in silence.
	Magic []Magic

	// QEMU is the emulator, and Package the Debian package it comes in. OldQEMU
	// says that an old one is as good: it is not replaced by a newer.
	QEMU    string
	Package string
	OldQEMU bool

	Machine  string
	CPU      string
	Accel    string
	Console  string
	MemoryMB int
	CPUs     int
	Args     []string // further arguments to QEMU

	// Extra targets run only when they are named.
	Extra bool

	// Serial is QEMU's virtio-serial device, which carries the event port.
	Serial string
}

// Magic is a mark that tells a file format.
type Magic struct {
	Offset int64
	Bytes  string
}

// maxOrder13 makes a kernel's largest block of memory 32 MiB, rather than 4 MiB: a
// program without an MMU is one block, and so is each large buffer of a process.
// On riscv no option has this.
const maxOrder13 = "-DCONFIG_ARCH_FORCE_MAX_ORDER=13"

// Targets is the table of all targets. A new one costs a row here.
var Targets = []Target{
	{
		Name:    "amd64",
		GOARCH:  "amd64",
		Kernel:  "linux-image-cloud-amd64",
		Magic:   []Magic{{0x202, "HdrS"}},
		QEMU:    "qemu-system-x86_64",
		Package: "qemu-system-x86",
		Machine: "q35",
		// CMPXCHG16B leaves garbage in the flags in QEMU before 8.0. A kernel
		// that is interrupted just then dies of a double fault: with the load
		// of our tests, every other run. It does without the instruction. It
		// also does without what QEMU does slowly: strings byte by byte, a fifth
		// level of page tables, vectors.
		CPU: "max,-cx16,-erms,-la57,-avx,-avx2",
		// One host thread for all processors: before QEMU 8.1 a processor may
		// run code translated from an instruction that another has just
		// replaced, and when that was a breakpoint of the kernel's own (it
		// patches itself by them) the kernel dies of "Oops: int3".
		Accel:    "tcg,thread=single",
		Console:  "ttyS0",
		MemoryMB: 1024,
		CPUs:     2,
		Serial:   "virtio-serial-pci",
	},
	{
		Name:    "arm64",
		GOARCH:  "arm64",
		Kernel:  "linux-image-cloud-arm64",
		Magic:   []Magic{{56, "ARM\x64"}},
		QEMU:    "qemu-system-aarch64",
		Package: "qemu-system-arm",
		Machine: "virt,gic-version=3",
		// Without what is slow to emulate, and nothing here is about: signed
		// pointers (the architected ones take three times as long to boot), and
		// vectors, whose registers the kernel gives to each thread anew. The
		// newer interrupt controller is told by registers, not by memory.
		CPU: "max,pauth=off,sve=off,sme=off",
		// One host thread, if CPUS= asks for more processors: the architecture
		// tells all of them of each change of the page tables, for which QEMU has
		// all threads meet. With one it takes half the time.
		Accel:    "tcg,thread=single",
		Console:  "ttyAMA0",
		MemoryMB: 1024,
		CPUs:     1, // two in one thread take a fifth longer
		Serial:   "virtio-serial-pci",
	},
	{
		Name:     "riscv64",
		GOARCH:   "riscv64",
		Kernel:   "linux-image-riscv64",
		Magic:    []Magic{{56, "RSC\x05"}, {0, "\x7fELF\x02\x01"}},
		QEMU:     "qemu-system-riscv64",
		Package:  "qemu-system-riscv|qemu-system-misc",
		Machine:  "virt",
		CPU:      "rv64",
		Accel:    "tcg",
		Console:  "ttyS0",
		MemoryMB: 1024,
		// A second one costs more than it does, as each waits for the other in
		// loops: with a thread each where there are others to run, with one for
		// both always. CPUS=2 asks for it all the same.
		CPUs:   1,
		Serial: "virtio-serial-pci",
	},
	riscv64NoMMU(Target{
		Name: "riscv64-nommu",
		Args: []string{"-bios", "none"}, // the kernel itself runs in machine mode
	}, "riscv64-nommu.config"),
	riscv64NoMMU(Target{
		Name:  "riscv64-nommu-sbi",
		Extra: true, // the same kernel in supervisor mode, under OpenSBI
	}, "riscv64-nommu.config", "riscv64-nommu-sbi.config"),
}

// riscv64NoMMU completes the row of a machine whose kernel is made with the
// options in config.
func riscv64NoMMU(t Target, config ...string) Target {
	t.GOARCH = "riscv64"
	t.NoMMU = true
	t.MaxOrder = 13
	t.Kernel = "linux-source"
	t.Source = &Source{
		Arch:    "riscv",
		Cross:   "riscv64-linux-gnu-",
		Package: "gcc-riscv64-linux-gnu",
		Config:  config,
		Flags:   maxOrder13,
		Image:   "arch/riscv/boot/Image",
	}
	t.Magic = []Magic{{56, "RSC\x05"}}
	t.QEMU = "qemu-system-riscv64"
	t.Package = "qemu-system-riscv|qemu-system-misc"
	// Each start of a program is a copy, which is to be translated anew, and at
	// that QEMU 7.2 is faster than 10.0 by a fifth.
	t.OldQEMU = true
	t.Machine = "virt"
	t.CPU = "rv64,mmu=off"
	t.Accel = "tcg"
	t.Console = "ttyS0"
	t.MemoryMB = 1024
	t.CPUs = 1
	t.Serial = "virtio-serial-device"
	return t
}

// Toolchain builds programs for the target.
func (t Target) Toolchain(dir, cacheDir string) initramfs.Toolchain {
	return initramfs.Toolchain{GOARCH: t.GOARCH, NoMMU: t.NoMMU, MaxOrder: t.MaxOrder, Dir: dir, CacheDir: cacheDir}
}

// Names returns the names of all targets, in the table's order.
func Names() []string { return namesOf(Targets) }

func namesOf(targets []Target) []string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.Name
	}
	return names
}

// Select returns the targets that list names, separated by commas or spaces;
// an empty list is all of them but the Extra ones.
func Select(list string) ([]Target, error) {
	names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	if len(names) == 0 {
		return slices.DeleteFunc(slices.Clone(Targets), func(t Target) bool { return t.Extra }), nil
	}
	var selected []Target
	seen := map[string]bool{}
	for _, name := range names {
		t, ok := lookup(name)
		if !ok {
			return nil, usagef("unknown target %q: choose from %s", name, strings.Join(Names(), ", "))
		}
		if !seen[name] {
			selected = append(selected, t)
		}
		seen[name] = true
	}
	return selected, nil
}

func lookup(name string) (Target, bool) {
	for _, t := range Targets {
		if t.Name == name {
			return t, true
		}
	}
	return Target{}, false
}

// A UsageError is a mistake of the caller's, or something that this machine
// lacks: it says what, and what to do. Commands answer it with exit status 2.
type UsageError struct{ Err error }

// Error implements error.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap gives the error underneath.
func (e *UsageError) Unwrap() error { return e.Err }

func usagef(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}
