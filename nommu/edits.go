package nommu

// An edit replaces text of the standard library. The text must be in its file
// exactly once, or this is a Go release that the edit does not know.
type edit struct {
	file     string // below GOROOT/src
	old, new string
	why      string
	// since is the first minor release of Go 1 with this text, and before the
	// first without it; 0 is any.
	since, before int
}

const (
	physical = "addresses are physical, and a table for all of them is real memory"
	grain    = "the heap grows by 512 KiB, not 64 MiB, since all of it is real memory"
	noPlace  = "the kernel chooses each address"
	ours     = "memory is not protected, moved or paged there: _runtime has another"
)

// edits are all changes of the standard library's text.
var edits = []edit{
	{file: "runtime/malloc.go", old: "goarch.IsArm64))*48 +", new: "goarch.IsArm64))*32 +", why: physical},
	{file: "runtime/malloc.go", old: "logHeapArenaBytes = (6+20)*(", new: "logHeapArenaBytes = 19*(", why: grain},
	{file: "runtime/malloc.go", old: "if isSbrkPlatform {\n\t\t// Don't generate hints", new: "if true {\n\t\t// Don't generate hints", why: noPlace},
	{file: "runtime/malloc.go", old: "randomizeHeapBase = goexperiment", new: "randomizeHeapBase = false && goexperiment", why: noPlace, since: 26},
	{file: "runtime/mpagealloc.go", old: "logPallocChunkPages = 9", new: "logPallocChunkPages = 6", why: grain},
	{file: "runtime/mgcmark.go", old: "pagesPerSpanRoot = 512\n", new: "pagesPerSpanRoot = 64\n", why: grain, before: 26},
	{file: "runtime/mheap.go", old: "pagesPerReclaimerChunk = 512\n", new: "pagesPerReclaimerChunk = 64\n", why: grain, before: 26},
	{file: "runtime/mpagealloc_32bit.go", old: "//go:build 386 ||", new: "//go:build riscv64 || 386 ||", why: physical},
	{file: "runtime/mpagealloc_64bit.go", old: "|| riscv64 ||", new: "||", why: physical},
	{file: "runtime/mem.go", old: "func sysReserveAligned(", new: "func mmuSysReserveAligned(", why: ours, since: 26},
	{file: "runtime/malloc.go", old: "func sysReserveAligned(", new: "func mmuSysReserveAligned(", why: ours, before: 26},
	{file: "runtime/mem_linux.go", old: "func sysUnusedOS(", new: "func mmuSysUnusedOS(", why: ours},
	{file: "runtime/mem_linux.go", old: "func sysUsedOS(", new: "func mmuSysUsedOS(", why: ours},
	{file: "runtime/mem_linux.go", old: "func sysHugePageOS(", new: "func mmuSysHugePageOS(", why: ours},
	{file: "runtime/mem_linux.go", old: "func sysNoHugePageOS(", new: "func mmuSysNoHugePageOS(", why: ours},
	{file: "runtime/mem_linux.go", old: "func sysHugePageCollapseOS(", new: "func mmuSysHugePageCollapseOS(", why: ours},
	{file: "runtime/mem_linux.go", old: "func sysFaultOS(", new: "func mmuSysFaultOS(", why: ours},
	{file: "runtime/mem_linux.go", old: "func sysReserveOS(", new: "func mmuSysReserveOS(", why: ours},
	{file: "runtime/mem_linux.go", old: "func sysMapOS(", new: "func mmuSysMapOS(", why: ours},
	{file: "runtime/mem_linux.go", old: "func needZeroAfterSysUnusedOS(", new: "func mmuNeedZeroAfterSysUnusedOS(", why: ours, since: 26},
	{file: "runtime/asm_riscv64.s", old: "\tRDTIME\tX10\n\tRET\n", new: "\tJMP\truntime·nanotime<ABIInternal>(SB)\n", why: "reading the clock's register traps under a kernel in M-mode"},
	{file: "crypto/internal/fips140/drbg/entropy_fips140.go", old: "var memory entropy.ScratchBuffer", new: "var memory *entropy.ScratchBuffer", why: noScratch, since: 26},
	{file: "crypto/internal/fips140/drbg/entropy_fips140.go", old: "seed, err := entropy.Seed(&memory)", new: "seed, err := entropy.Seed(memory)", why: noScratch, since: 26},
	{file: "crypto/internal/fips140/drbg/entropy_fips140.go", old: "seed, err = entropy.Seed(&memory)", new: "seed, err = entropy.Seed(memory)", why: noScratch, since: 26},
}

const noScratch = "32 MiB for FIPS mode, which is not for this target, would be real memory in each program with crypto"
