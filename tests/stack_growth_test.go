//go:build linux

package tests

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

const mib = 1 << 20

// The stack of a program grows down as pages below it are touched, as far as
// RLIMIT_STACK allows, which Attr sets: with 8 MiB the program dies by SIGSEGV
// shortly before, and with 16 MiB the same program goes on.
func TestStackGrowth(t *testing.T) {
	helper.SkipEmulated(t, "stack that grows")
	helper.SkipNoMMU(t, "stacks do not grow")
	const reach = 12 * mib
	for _, c := range []struct {
		limit, atLeast, atMost int
		end                    string
	}{
		{8 * mib, 7 * mib, 8 * mib, "signal: segmentation fault"},
		{16 * mib, reach, 16 * mib, "exit status 0"},
	} {
		t.Run(fmt.Sprintf("%d MiB", c.limit/mib), func(t *testing.T) {
			out := output(t, touchHelper.Argv(strconv.Itoa(reach)), &vspawn.Attr{
				Rlimits: []vspawn.Rlimit{
					{Resource: unix.RLIMIT_STACK, Soft: uint64(c.limit), Hard: uint64(c.limit)},
					{Resource: unix.RLIMIT_CORE},
				},
			}, c.end)
			var depth, mapping, before int
			for line := range strings.Lines(out) {
				if n, _ := fmt.Sscan(line, &depth, &mapping); n < 2 {
					continue
				}
				t.Logf("touched %8d bytes below the top: [stack] has %8d", depth, mapping)
				if mapping < depth || mapping < before {
					t.Error("[stack] has not grown with it")
				}
				before = mapping
			}
			t.Logf("%s after %d bytes", c.end, depth)
			if depth < c.atLeast || depth > c.atMost {
				t.Errorf("the program has touched %d bytes, want %d to %d", depth, c.atLeast, c.atMost)
			}
		})
	}
}

// touchHelper touches the pages below its main thread's stack, down to the
// given distance from the top. At each 64 KiB it tells how far it has come, and
// at each MiB the size of the mapping.
var touchHelper = helper.New("touch", func(args []string) int {
	reach, err := strconv.Atoi(args[0])
	if err != nil {
		panic(err)
	}
	defaultAction(unix.SIGSEGV) // the Go runtime would make a panic of it
	low, high := stackMapping()
	said := 0
	for at := low - uintptr(os.Getpagesize()); high-at <= uintptr(reach); at -= uintptr(os.Getpagesize()) {
		touch(at)
		depth := int(high - at)
		switch {
		case depth/mib > said:
			said = depth / mib
			low, high := stackMapping()
			fmt.Println(depth, high-low)
		case depth%(64<<10) == 0:
			fmt.Println(depth)
		}
	}
	return 0
})

// stackMapping is where the main thread's stack lies.
func stackMapping() (low, high uintptr) {
	for line := range strings.Lines(text("/proc/self/maps")) {
		if strings.HasSuffix(line, "[stack]\n") {
			fmt.Sscanf(line, "%x-%x", &low, &high)
		}
	}
	return low, high
}
