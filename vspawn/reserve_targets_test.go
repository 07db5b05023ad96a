//go:build linux

package vspawn

import (
	"bufio"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// pipesAt opens a pipe at each of n numbers from first on.
func pipesAt(t *testing.T, first, n int) {
	t.Helper()
	for fd := first; fd < first+n; fd++ {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		err = unix.Dup3(int(r.Fd()), fd, unix.O_CLOEXEC)
		r.Close()
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
	}
}

func inodeOf(fd int) string {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return ""
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// Whatever numbers a child is given, and whatever is reserved, each is a copy of
// what it was to be a copy of.
func TestReservedTargets(t *testing.T) {
	const a = 200
	pipesAt(t, a, 6)
	for _, n := range []int{0, 8, 40} {
		t.Run(fmt.Sprintf("%d reserved", n), func(t *testing.T) {
			reserve(t, n)
			free := slices.Clone(reserved.free)
			for _, targets := range [][]int{{7, 6, 5}, {8, 9, 10}, {6, 5, 4}, {10, 11, 12}, {14, 13, 12}, {15, 11, 13}} {
				table := map[int]int{}
				for i, to := range targets {
					table[to] = a + i
				}
				inChild(t, table)
			}
			rng := rand.New(rand.NewPCG(1, uint64(n)))
			settled(t) // a look at /proc behind the starts before has a descriptor, too
			open, borrowed := openNow(), 0
			for range helper.Rounds(1000) {
				if inModel(t, open, randomTable(rng, a, free)) {
					borrowed++
				}
			}
			f, err := probe()
			if err != nil {
				t.Fatal(err)
			}
			if (borrowed > 0) != (n > 0 && f.CloseRangeUnshare) {
				t.Errorf("%d starts took reserved numbers", borrowed)
			}
		})
	}
}

// randomTable is a child's table, from target to source: the sources from a on, and
// targets among low numbers, reserved ones and sources.
func randomTable(rng *rand.Rand, a int, free []int) map[int]int {
	table := map[int]int{}
	for range 1 + rng.IntN(8) {
		to := 3 + rng.IntN(20)
		switch {
		case len(free) > 0 && rng.IntN(3) == 0:
			to = free[rng.IntN(len(free))]
		case rng.IntN(6) == 0:
			to = a + rng.IntN(6)
		}
		table[to] = a + rng.IntN(6)
	}
	return table
}

func filesOf(table map[int]int) []File {
	files := []File{}
	for _, to := range slices.Sorted(maps.Keys(table)) {
		files = append(files, File{Child: to, Parent: FD(table[to])})
	}
	return files
}

// inChild has a child tell what it was given.
func inChild(t *testing.T, table map[int]int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w = high(t, w, 100)
	p := startHelper(t, &Attr{Files: append(filesOf(table),
		File{Child: 1, Parent: w}, File{Child: 2, Parent: FD(2)})}, list)
	w.Close()
	got := map[int]string{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var fd int
		var what string
		if _, err := fmt.Sscanf(lines.Text(), "%d:%s", &fd, &what); err != nil {
			t.Error(err)
		}
		got[fd] = what
	}
	for to, from := range table {
		if got[to] != inodeOf(from) {
			t.Errorf("the table %v: %d is %q, want %q", table, to, got[to], inodeOf(from))
		}
	}
	if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
		t.Error(s, err)
	}
}

// openNow is what descriptors are open.
func openNow() map[int]string {
	open := map[int]string{}
	for fd := range 300 {
		if what := inodeOf(fd); what != "" {
			open[fd] = what
		}
	}
	return open
}

// inModel makes the child's calls on a model of its table, where the parent has what
// is open, and tells whether there are low copies.
func inModel(t *testing.T, open map[int]string, table map[int]int) bool {
	t.Helper()
	plan, err := Compile("/", nil, &Attr{Files: filesOf(table)})
	if err != nil {
		t.Fatal(err)
	}
	f, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	l, err := plan.load(f)
	if err != nil {
		t.Fatal(err)
	}
	low, err := plan.borrow(f)
	if err != nil {
		t.Fatal(err)
	}
	defer low.giveBack()
	in := new(instance)
	in.fill(l, plan, f, noLinks, -1, low)

	had, closing := maps.Clone(open), map[int]bool{}
	if low != nil {
		for _, fd := range slices.Concat(low.to, low.spares) {
			had[fd], closing[fd] = inodeOf(fd), true
		}
	}
	for _, s := range in.steps {
		x, y := int(s.Args[0]), int(s.Args[1])
		switch s.Nr {
		case unix.SYS_DUP3:
			if had[x] == "" || x == y {
				t.Fatalf("the table %v: dup3(%d, %d) fails", table, x, y)
			}
			had[y], closing[y] = had[x], s.Args[2] == unix.O_CLOEXEC
		case unix.SYS_FCNTL:
			closing[x] = s.Args[2] == unix.FD_CLOEXEC
		case unix.SYS_CLOSE_RANGE:
			for fd := range had {
				if fd < x || fd > y {
					continue
				}
				if closing[fd] = true; s.Args[2] == unix.CLOSE_RANGE_UNSHARE {
					delete(had, fd)
				}
			}
		}
	}
	maps.DeleteFunc(had, func(fd int, _ string) bool { return closing[fd] })
	want := map[int]string{}
	for to, from := range table {
		want[to] = inodeOf(from)
	}
	if !maps.Equal(had, want) {
		t.Fatalf("the table %v: the child has %v, want %v; low copies %+v", table, had, want, low)
	}
	return low != nil && low.to != nil
}
