package main

// Why tests of the standard library are left out.
const (
	noProtection = "no MMU: memory can't be protected"
	noPlace      = "no MMU: memory can't be had at an address of one's own"
	largeBlock   = "no MMU: it wants more than 32 MiB in one block"
	noReleased   = "no MMU: what is given back is no longer the heap's, which HeapReleased doesn't count"
	noTree       = "it reads its own source by the path that -trimpath took away"
)

// stdSkips are the standard library's tests that can't pass without an MMU, by
// package, and why.
var stdSkips = map[string]map[string]string{
	"bytes": {
		"TestIndexNearPageBoundary":     noProtection,
		"TestCountNearPageBoundary":     noProtection,
		"TestIndexByteNearPageBoundary": noProtection,
		"TestEqualNearPageBoundary":     noProtection,
	},
	"compress/gzip": {"TestCVE202230631": largeBlock},
	"encoding/gob":  {"TestLargeSlice": largeBlock},
	"reflect":       {"TestTypeFieldReadOnly": noProtection},
	"runtime": {
		"TestArenaCollision":   noPlace,
		"TestPhysPageSize":     noPlace,
		"TestMincoreErrorSign": "no MMU: there is no mincore",
		"TestTracebackSystem":  noTree,
	},
	"runtime/debug": {
		"TestFreeOSMemory": noReleased,
		"TestPanicOnFault": noProtection,
	},
}
