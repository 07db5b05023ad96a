package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

// Without an MMU a page cannot be given back and be had again at its address. A
// chunk of the heap, which is an arena too, can: the kernel takes back any part
// of an anonymous mapping. From then on the chunk counts as allocated, so that
// nothing is put there, and belongs to no span. If the kernel gives the same
// memory again for the heap, it is freed.
//
// The policy, how much to give back and when, is Go's own.

const _ = -uint(heapArenaBytes ^ pallocChunkBytes) // they are of one size

// scavenge gives back free chunks, until they are nbytes, shouldStop says so, or
// there are no more.
func (p *pageAlloc) scavenge(nbytes uintptr, shouldStop func() bool, force bool) uintptr {
	if p.test {
		return p.mmuScavenge(nbytes, shouldStop, force)
	}
	released := uintptr(0)
	for released < nbytes {
		n := uintptr(0)
		systemstack(func() {
			lock(p.mheapLock)
			n = p.releaseChunk()
			unlock(p.mheapLock)
		})
		if n == 0 {
			break
		}
		released += n
		if shouldStop != nil && shouldStop() {
			break
		}
	}
	return released
}

// releaseChunk gives one free chunk back, and tells how many bytes of it were in
// use until then.
func (p *pageAlloc) releaseChunk() uintptr {
	assertLockHeld(p.mheapLock)
	summaries := p.summary[len(p.summary)-1]
	for r := len(p.inUse.ranges) - 1; r >= 0; r-- {
		first, last := chunkIndex(p.inUse.ranges[r].base.addr()), chunkIndex(p.inUse.ranges[r].limit.addr()-1)
		for ci := last; ci >= first; ci-- {
			if summaries[ci].max() == pallocChunkPages {
				return p.release(ci)
			}
		}
	}
	return 0
}

func (p *pageAlloc) release(ci chunkIdx) uintptr {
	base := chunkBase(ci)
	unused := p.allocRange(base, pallocChunkPages)
	ready := pallocChunkBytes - unused

	gcController.heapFree.add(-int64(ready))
	gcController.heapReleased.add(-int64(unused))
	gcController.mappedReady.Add(-int64(ready))
	stats := memstats.heapStats.acquire()
	atomic.Xaddint64(&stats.committed, -int64(ready))
	atomic.Xaddint64(&stats.released, -int64(unused))
	memstats.heapStats.release()

	// A pointer to what others put there is none to a dead span.
	ai := arenaIndex(base)
	clear(mheap_.arenas[ai.l1()][ai.l2()].spans[:])
	sysFreeOS(unsafe.Pointer(base), pallocChunkBytes)
	return pallocChunkBytes
}

// growOrRegrow does what grow does, also where chunks were released.
func (p *pageAlloc) growOrRegrow(base, size uintptr) {
	assertLockHeld(p.mheapLock)
	for end := base + size; base < end; base += pallocChunkBytes {
		if !p.inUse.contains(base) {
			p.grow(base, pallocChunkBytes)
			continue
		}
		p.chunkOf(chunkIndex(base)).scavenged.setRange(0, pallocChunkPages)
		p.free(base, pallocChunkPages)
	}
}

// The index of what else might be given back is not kept but for tests.

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
