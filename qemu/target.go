package qemu

import (
	"embed"
	"slices"
	"strings"

	"github.com/vspawn/vspawn/initramfs"
	"github.com/vspawn/vspawn/internal/arch"
	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
)

// A Target is a kind of machine that tests run on, a row of Targets, with a kernel
// to run there.
type Target struct {
	Name   string
	GOARCH string

	// Kernel is the kernel, and Series what it is called among several, such as
	// "5.10"; "" is the target's own: the newest stable one, or another if that
	// can't be had.
	Kernel supply.Spec
	Series string
	suite  string // of the row that Series began as
	// Magic is what a kernel image for this machine holds, to tell at once a
	// file that is none: QEMU runs whatever it is given, in silence.
	Magic []supply.Magic
	// NoMMU wants programs that package nommu has made, for the kernel's
	// MAX_PAGE_ORDER, which is MaxOrder.
	NoMMU    bool
	MaxOrder int

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
	Append   []string // and to the kernel

	// KVM is Machine where the host's own processor runs the guest.
	KVM string

	// Extra targets run only when they are named.
	Extra bool

	// Serial is QEMU's virtio-serial device, which carries the event port.
	Serial string
}

// Title is what results call the target: with its kernel, where it was asked for.
func (t Target) Title() string {
	if t.Series == "" {
		return t.Name
	}
	return t.Name + " " + t.Series
}

// file is the title as a file's name.
func (t Target) file() string { return strings.ReplaceAll(t.Title(), " ", "-") }

// variable is the target's name in that of a variable.
func (t Target) variable() string { return strings.ReplaceAll(t.Name, "-", "_") }

// maxOrder13 makes a kernel's largest block of memory 32 MiB, rather than 4 MiB: a
// program without an MMU is one block, and so is each large buffer of a process.
// On riscv no option has this.
const maxOrder13 = "-DCONFIG_ARCH_FORCE_MAX_ORDER=13"

// packaged is the kernel of the target called goarch, which Debian has: meta depends
// on the newest.
func packaged(goarch, meta string, magic []supply.Magic) supply.Spec {
	return supply.Packaged{Arch: goarch, Package: meta, Suites: anySuite(goarch), Modules: portModules, Magic: magic}
}

// portModules are what the event port needs of a kernel that has it in modules, in
// the order in which they need each other: Debian's cloud kernels before 6.12.
var portModules = []string{
	"virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_console",
}

var (
	magicAMD64   = []supply.Magic{{Offset: 0x202, Bytes: "HdrS"}}
	magicARM64   = []supply.Magic{{Offset: 56, Bytes: "ARM\x64"}}
	magicRISCV64 = []supply.Magic{{Offset: 56, Bytes: "RSC\x05"}, {Offset: 0, Bytes: "\x7fELF\x02\x01"}}
)

//go:embed kernel/*.config
var configs embed.FS

// Targets is the table of all targets. A new one costs a row here.
var Targets = emulated([]Target{
	{
		Name:    "amd64",
		GOARCH:  "amd64",
		Kernel:  packaged("amd64", "linux-image-cloud-amd64", magicAMD64),
		Magic:   magicAMD64,
		Machine: "q35",
		// CMPXCHG16B leaves garbage in the flags in QEMU before 8.0. A kernel
		// that is interrupted just then dies of a double fault: with the load
		// of our tests, every other run. It does without the instruction. It
		// also does without what QEMU does slowly: strings byte by byte, a fifth
		// level of page tables, vectors. Fast short strings go with the fast ones:
		// kernels before 6.2 take the one for the other, and hang as they start.
		CPU: "max,-cx16,-erms,-fsrm,-la57,-avx,-avx2",
		KVM: "q35",
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
		Kernel:  packaged("arm64", "linux-image-cloud-arm64", magicARM64),
		Magic:   magicARM64,
		Machine: "virt,gic-version=3",
		KVM:     "virt,gic-version=host",
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
		Kernel:   packaged("riscv64", "linux-image-riscv64", magicRISCV64),
		Magic:    magicRISCV64,
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
	}, "kernel/riscv64-nommu.config"),
	riscv64NoMMU(Target{
		Name:  "riscv64-nommu-sbi",
		Extra: true, // the same kernel in supervisor mode, under OpenSBI
	}, "kernel/riscv64-nommu.config", "kernel/riscv64-nommu-sbi.config"),
})

// emulated gives rows the emulator of their architecture.
func emulated(rows []Target) []Target {
	for i := range rows {
		a := arch.Of(rows[i].GOARCH)
		rows[i].QEMU, rows[i].Package = a.SystemProgram(), a.SystemPackage
	}
	return rows
}

// riscv64NoMMU completes the row of a machine whose kernel is made with the
// options in config.
func riscv64NoMMU(t Target, config ...string) Target {
	t.GOARCH = "riscv64"
	t.NoMMU = true
	t.MaxOrder = 13
	t.Magic = magicRISCV64[:1]
	kernel := builtRISCV64(config...)
	kernel.Suites = builtSuites()
	kernel.Flags = maxOrder13
	t.Kernel = kernel
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

// builtRISCV64 is a kernel made with the options in config, of a source that is still to
// be chosen.
func builtRISCV64(config ...string) supply.Built {
	return supply.Built{
		Package:  "linux-source",
		Arch:     "riscv",
		Cross:    "riscv64-linux-gnu-",
		Compiler: "gcc-riscv64-linux-gnu",
		Files:    configs,
		Config:   config,
		Image:    "arch/riscv/boot/Image",
		Magic:    magicRISCV64[:1],
	}
}

// Toolchain builds programs for the target.
func (t Target) Toolchain(dir, cacheDir string) initramfs.Toolchain {
	return initramfs.Toolchain{GOARCH: t.GOARCH, NoMMU: t.NoMMU, MaxOrder: t.MaxOrder, Dir: dir, CacheDir: cacheDir}
}

// TargetNames returns the names of all targets, in the table's order.
func TargetNames() []string { return namesOf(Targets) }

func namesOf(targets []Target) []string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.Name
	}
	return names
}

func titlesOf(targets []Target) []string {
	titles := make([]string, len(targets))
	for i, t := range targets {
		titles[i] = t.Title()
	}
	return titles
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
			return nil, usage.Errorf("unknown target %q: choose from %s", name, strings.Join(TargetNames(), ", "))
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
