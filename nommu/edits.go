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

// Why the edits are made.
const (
	physical = "addresses are physical, and a table for all of them is real memory"
	arenas   = "an arena's tables are real memory, so it spans 512 KiB, not 64 MiB"
	noPlace  = "the kernel chooses each address"
	ours     = "memory is not protected, moved or paged there: _runtime has another"
	grains   = "the heap grows and shrinks by 64 KiB, at any address: _runtime has another"
	soon     = "what one program keeps, no other can have"
	small    = "what is kept in store for a large program is real memory in a small one"
	faults   = "the kernel does not tell the address of an access fault: _runtime finds it out"
	clock    = "reading the clock's register traps under a kernel in M-mode"
	fips     = "32 MiB for FIPS mode, which is not for this target, would be real memory in each program with crypto"
)

// edits are all changes of the standard library's text.
var edits = []edit{
	// The heap.
	{file: "runtime/malloc.go", old: "goarch.IsArm64))*48 +", new: "goarch.IsArm64))*32 +", why: physical},
	{file: "runtime/malloc.go", old: "arenaL1Bits = 6 * (", new: "arenaL1Bits = 6 + 0*(", why: physical},
	{file: "runtime/mpagealloc_32bit.go", old: "//go:build 386 ||", new: "//go:build riscv64 || 386 ||", why: physical},
	{file: "runtime/mpagealloc_32bit.go", old: "pallocChunksL1Bits = 0", new: "pallocChunksL1Bits = 6", why: physical},
	{file: "runtime/mpagealloc_64bit.go", old: "|| riscv64 ||", new: "||", why: physical},
	{file: "runtime/malloc.go", old: "logHeapArenaBytes = (6+20)*(", new: "logHeapArenaBytes = 19*(", why: arenas},
	{file: "runtime/mpagealloc.go", old: "logPallocChunkPages = 9", new: "logPallocChunkPages = 6", why: arenas},
	{file: "runtime/mgcmark.go", old: "pagesPerSpanRoot = 512\n", new: "pagesPerSpanRoot = 64\n", why: arenas, before: 26},
	{file: "runtime/mheap.go", old: "pagesPerReclaimerChunk = 512\n", new: "pagesPerReclaimerChunk = 64\n", why: arenas, before: 26},
	{file: "runtime/malloc.go", old: "if isSbrkPlatform {\n\t\t// Don't generate hints", new: "if true {\n\t\t// Don't generate hints", why: noPlace},
	{file: "runtime/malloc.go", old: "randomizeHeapBase = goexperiment", new: "randomizeHeapBase = false && goexperiment", why: noPlace, since: 26},

	// Memory from the kernel.
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

	// The heap's growing and shrinking.
	{file: "runtime/malloc.go", old: "func (h *mheap) sysAlloc(", new: "func (h *mheap) mmuSysAlloc(", why: grains},
	{file: "runtime/malloc.go", old: "\tn = alignUp(n, heapArenaBytes)\n", new: "\tn = alignUp(n, heapGrain)\n", why: grains},
	{file: "runtime/malloc.go", old: "sysReserveAligned(nil, n, heapArenaBytes, \"heap\")", new: "sysReserveAligned(nil, n, heapGrain, \"heap\")", why: grains},
	{file: "runtime/malloc.go", old: "if uintptr(v)&(heapArenaBytes-1) != 0 {", new: "if uintptr(v)&(heapGrain-1) != 0 {", why: grains},
	{file: "runtime/malloc.go", old: "\t\t\tthrow(\"arena already initialized\")\n", new: "\t\t\tcontinue\n", why: grains},
	{file: "runtime/mheap.go", old: "ask := alignUp(npage, pallocChunkPages) * pageSize", new: "ask := alignUp(npage, heapGrainPages) * pageSize", why: grains},
	{file: "runtime/mheap.go", old: "h.pages.grow(h.curArena.base, size)", new: "h.pages.growGrains(h.curArena.base, size)", why: grains},
	{file: "runtime/mheap.go", old: "h.pages.grow(v, nBase-v)", new: "h.pages.growGrains(v, nBase-v)", why: grains},
	{file: "runtime/mgcscavenge.go", old: "func (p *pageAlloc) scavenge(", new: "func (p *pageAlloc) mmuScavenge(", why: grains},
	{file: "runtime/mgcscavenge.go", old: "func (s *scavengeIndex) alloc(", new: "func (s *scavengeIndex) mmuAlloc(", why: grains},
	{file: "runtime/mgcscavenge.go", old: "func (s *scavengeIndex) free(", new: "func (s *scavengeIndex) mmuFree(", why: grains},
	{file: "runtime/mpagealloc_32bit.go", old: "s.chunks = scavengeIndexArray[:]", new: "s.chunks = nil", why: grains},
	{file: "runtime/mgcscavenge.go", old: "scavengePercent = 1 //", new: "scavengePercent = 10 //", why: soon},
	{file: "runtime/mgcscavenge.go", old: "startingScavSleepRatio = 0.001", new: "startingScavSleepRatio = 0.1", why: soon},
	{file: "runtime/mgcscavenge.go", old: "min: 0.001,", new: "min: 0.1,", why: soon},

	// What each process has, used or not.
	{file: "runtime/mgcpacer.go", old: "(1-goexperiment.HeapMinimum512KiBInt)*(4<<20)", new: "(1-goexperiment.HeapMinimum512KiBInt)*(512<<10)", why: small},
	{file: "runtime/malloc.go", old: "persistentChunkSize = 256 << 10", new: "persistentChunkSize = 16 << 10", why: small},
	{file: "runtime/malloc.go", old: "maxBlock = 64 << 10", new: "maxBlock = 4 << 10", why: small},
	{file: "runtime/malloc.go", old: "_FixAllocChunk = 16 << 10", new: "_FixAllocChunk = 4 << 10", why: small},
	{file: "runtime/malloc.go", old: "_StackCacheSize = 32 * 1024", new: "_StackCacheSize = 16 * 1024", why: small},
	{file: "runtime/mheap.go", old: "n := 64 * 1024 / goarch.PtrSize", new: "n := 4 * 1024 / goarch.PtrSize", why: small},
	{file: "runtime/mheap.go", old: "gcBitsChunkBytes = uintptr(64 << 10)", new: "gcBitsChunkBytes = uintptr(8 << 10)", why: small},
	{file: "runtime/mspanset.go", old: "spanSetBlockEntries = 512", new: "spanSetBlockEntries = 32", why: small},
	{file: "runtime/mspanset.go", old: "spanSetInitSpineCap = 256", new: "spanSetInitSpineCap = 16", why: small},
	{file: "runtime/mprof.go", old: "buckHashSize = 179999", new: "buckHashSize = 1021", why: small},
	{file: "runtime/os_linux.go", old: "mp.gsignal = malg(32 * 1024)", new: "mp.gsignal = malg(16 * 1024)", why: small},
	{file: "runtime/asm_riscv64.s", old: "MOV\t$(-64*1024), T0", new: "MOV\t$(-32*1024), T0", why: small},
	{file: "internal/runtime/cgroup/cgroup.go", old: "ParseSize = 4 * escapedPathMax", new: "ParseSize = escapedPathMax / 4", why: small, since: 26},
	{file: "internal/runtime/cgroup/cgroup_linux.go", old: "ParseSize = 4 * escapedPathMax", new: "ParseSize = escapedPathMax / 4", why: small, before: 26},
	{file: "crypto/internal/fips140/drbg/entropy_fips140.go", old: "var memory entropy.ScratchBuffer", new: "var memory *entropy.ScratchBuffer", why: fips, since: 26},
	{file: "crypto/internal/fips140/drbg/entropy_fips140.go", old: "seed, err := entropy.Seed(&memory)", new: "seed, err := entropy.Seed(memory)", why: fips, since: 26},
	{file: "crypto/internal/fips140/drbg/entropy_fips140.go", old: "seed, err = entropy.Seed(&memory)", new: "seed, err = entropy.Seed(memory)", why: fips, since: 26},

	{file: "runtime/signal_linux_riscv64.go", old: "func (c *sigctxt) sigaddr(", new: "func (c *sigctxt) mmuSigaddr(", why: faults},
	{file: "runtime/asm_riscv64.s", old: "\tRDTIME\tX10\n\tRET\n", new: "\tJMP\truntime·nanotime<ABIInternal>(SB)\n", why: clock},
}
