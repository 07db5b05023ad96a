//go:build linux

package vspawn

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// Whatever the map, each target ends with what its source held, and nothing
// that is still to be read is overwritten. The copies are tried on a model.
func TestOrderCopies(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range helper.Rounds(20000) {
		n := 1 + rng.IntN(12)
		source := map[int]int{}
		var targets []int
		for range 1 + rng.IntN(n) {
			to := rng.IntN(n)
			if _, ok := source[to]; !ok {
				targets = append(targets, to)
			}
			source[to] = rng.IntN(n)
		}
		slices.Sort(targets)
		table := map[int]int{} // descriptor to what it holds: at first its own number
		for fd := range n {
			table[fd] = fd
		}
		copies := orderCopies(targets, source, func() int { n++; return n - 1 })
		for _, m := range copies {
			table[m.to] = table[m.from]
		}
		for to, from := range source {
			if table[to] != from {
				t.Fatalf("map %v, copies %v: %d ends as %d", source, copies, to, table[to])
			}
		}
		if len(copies) > len(targets)+len(targets)/2 {
			t.Fatalf("map %v: more spare copies than there can be cycles: %v", source, copies)
		}
	}
}
