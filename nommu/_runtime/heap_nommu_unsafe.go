package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

// Without an MMU all memory that the heap has is real. So it grows by grains,
// which are smaller than an arena, and gives free grains back: the kernel takes
// any part of an anonymous mapping. Once back a grain may be anyone's, and may
// become the heap's again.
//
// To the page allocator the pages of a chunk that are not the heap's, not yet or
// no longer, are allocated, and belong to no span.
//
// How much to give back, and when, is Go's own policy.

const (
	heapGrain      = 64 << 10
	heapGrainPages = heapGrain / pageSize
	heapMaxStep    = 256 << 10
)

// sysAlloc asks for more than is needed in a large heap, to ask less often, and
// for what is needed if that can't be had.
func (h *mheap) sysAlloc(n uintptr, hintList **arenaHint, arenaList *[]arenaIdx) (unsafe.Pointer, uintptr) {
	step := min(uintptr(gcController.heapInUse.load()/8), heapMaxStep)
	if step > n {
		if v, size := h.mmuSysAlloc(step, hintList, arenaList); v != nil {
			return v, size
		}
	}
	return h.mmuSysAlloc(n, hintList, arenaList)
}

// growGrains makes the pages of new grains free.
func (p *pageAlloc) growGrains(base, size uintptr) {
	assertLockHeld(p.mheapLock)
	for end := base + size; base < end; {
		chunk := alignDown(base, pallocChunkBytes)
		if !p.inUse.contains(chunk) {
			p.grow(chunk, pallocChunkBytes)
			p.allocRange(chunk, pallocChunkPages)
		}
		n := min(end, chunk+pallocChunkBytes) - base
		p.chunkOf(chunkIndex(base)).scavenged.setRange(chunkPageIndex(base), uint(n/pageSize))
		p.free(base, n/pageSize)
		base += n
	}
}

// scavenge gives back free grains, until they are nbytes, shouldStop says so, or
// there are no more.
func (p *pageAlloc) scavenge(nbytes uintptr, shouldStop func() bool, force bool) uintptr {
	if p.test {
		return p.mmuScavenge(nbytes, shouldStop, force)
	}
	released := uintptr(0)
	for limit := ^uintptr(0); released < nbytes; {
		var base uintptr
		systemstack(func() {
			lock(p.mheapLock)
			base = p.releaseBelow(limit)
			unlock(p.mheapLock)
		})
		if base == 0 {
			break
		}
		released += heapGrain
		limit = base
		if shouldStop != nil && shouldStop() {
			break
		}
	}
	return released
}

// releaseBelow gives back the highest free grain below an address, and gives its
// own, or 0 if there is none.
func (p *pageAlloc) releaseBelow(limit uintptr) uintptr {
	assertLockHeld(p.mheapLock)
	summaries := p.summary[len(p.summary)-1]
	for r := len(p.inUse.ranges) - 1; r >= 0; r-- {
		first := chunkIndex(p.inUse.ranges[r].base.addr())
		for ci := chunkIndex(p.inUse.ranges[r].limit.addr() - 1); ci >= first; ci-- {
			if chunkBase(ci) >= limit || summaries[ci].max() < heapGrainPages {
				continue
			}
			allocated := p.chunkOf(ci).pages64(0)
			for base := chunkBase(ci) + pallocChunkBytes - heapGrain; base >= chunkBase(ci); base -= heapGrain {
				if base < limit && allocated>>chunkPageIndex(base)&(1<<heapGrainPages-1) == 0 {
					p.release(base)
					return base
				}
			}
		}
	}
	return 0
}

func (p *pageAlloc) release(base uintptr) {
	unused := p.allocRange(base, heapGrainPages)
	ready := heapGrain - unused

	gcController.heapFree.add(-int64(ready))
	gcController.heapReleased.add(-int64(unused))
	gcController.mappedReady.Add(-int64(ready))
	stats := memstats.heapStats.acquire()
	atomic.Xaddint64(&stats.committed, -int64(ready))
	atomic.Xaddint64(&stats.released, -int64(unused))
	memstats.heapStats.release()

	// A pointer to what others put there is none to a dead span.
	ai := arenaIndex(base)
	page := base / pageSize % pagesPerArena
	clear(mheap_.arenas[ai.l1()][ai.l2()].spans[page : page+heapGrainPages])
	sysFreeOS(unsafe.Pointer(base), heapGrain)
}

// One word has the bits of a chunk, and an arena is a chunk.
var _ [0]byte = [pallocChunkPages - 64]byte{}
var _ [0]byte = [heapArenaBytes - pallocChunkBytes]byte{}

// The index of what else might be given back is kept for tests only.

func (s *scavengeIndex) alloc(ci chunkIdx, npages uint) {
	if s.chunks != nil {
		s.mmuAlloc(ci, npages)
	}
}

func (s *scavengeIndex) free(ci chunkIdx, page, npages uint) {
	if s.chunks != nil {
		s.mmuFree(ci, page, npages)
	}
}
