//go:build linux

package vspawn

import (
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// reserve is Reserve for one test.
func reserve(tb testing.TB, n int) {
	tb.Helper()
	if err := Reserve(n); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if len(reserved.free) != n {
			tb.Errorf("%d of %d reserved descriptors came back", len(reserved.free), n)
		}
		for _, fd := range append(reserved.free, reserved.nothing) {
			unix.Close(fd)
		}
		reserved.free, reserved.nothing = nil, 0
	})
}

// high moves a file to a high descriptor.
func high(tb testing.TB, f *os.File, at int) *os.File {
	tb.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, at)
	if err != nil {
		tb.Fatal(err)
	}
	f.Close()
	return os.NewFile(uintptr(fd), f.Name())
}

// A child gets its descriptors by way of the reserved ones, which are then
// empty again: the reader sees the end of what the child wrote.
func TestReserve(t *testing.T) {
	reserve(t, 6)
	f, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 { // more than there are reserved descriptors for
		wg.Go(func() {
			in, inW, err := os.Pipe()
			if err != nil {
				t.Error(err)
				return
			}
			out, outW, err := os.Pipe()
			if err != nil {
				t.Error(err)
				return
			}
			in, outW = high(t, in, 100), high(t, outW, 100)
			argv := cat.Argv()
			plan, err := Compile(argv[0], argv,
				&Attr{Files: []File{{Child: 0, Parent: in}, {Child: 1, Parent: outW}, {Child: 2, Parent: FD(2)}}})
			if err != nil {
				t.Error(err)
				return
			}
			p, err := plan.Start(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			in.Close()
			outW.Close()
			io.WriteString(inW, "through")
			inW.Close()
			if b, err := io.ReadAll(out); string(b) != "through" || err != nil {
				t.Errorf("got %q, %v", b, err)
			}
			out.Close()
			if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
				t.Error(s, err)
			}
		})
	}
	wg.Wait()

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w = high(t, w, 100)
	defer w.Close()
	plan, err := Compile("/", nil, &Attr{Files: []File{{Child: 1, Parent: w}}})
	if err != nil {
		t.Fatal(err)
	}
	low := plan.lowCopies(f)
	if f.CloseRangeUnshare && (low == nil || low.top(plan) > 20) {
		t.Errorf("a descriptor at 100 has no low copy: %+v", low)
	}
	low.giveBack()
}

// BenchmarkDescriptors compares starts with few and with many descriptors open
// in the parent: plain ones, and ones with pipes of high numbers.
func BenchmarkDescriptors(b *testing.B) {
	const room = 100
	many := 100_000
	if unix.Setrlimit(unix.RLIMIT_NOFILE,
		&unix.Rlimit{Cur: uint64(many + room), Max: max(uint64(many+room), nofileMax(b))}) != nil {
		many = int(nofileMax(b)) - room // without CAP_SYS_RESOURCE
	}
	reserve(b, 3)
	argv := []string{tiny.Exit(b, 0)}
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()

	measure := func(attr *Attr) time.Duration {
		plan, err := Compile(argv[0], argv, attr)
		if err != nil {
			b.Fatal(err)
		}
		var took []time.Duration
		for range 400 {
			start := time.Now()
			p, err := plan.Start(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if _, err := p.Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		return median(took)
	}
	var extra []int
	fill := func(n int) {
		for len(extra) < n {
			fd, err := unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				b.Fatal(err)
			}
			extra = append(extra, fd)
		}
	}
	drop := func() {
		for _, fd := range slices.Backward(extra) {
			unix.Close(fd)
		}
		extra = nil
	}
	pipes := func() *Attr {
		hr := must(unix.FcntlInt(r.Fd(), unix.F_DUPFD_CLOEXEC, 0))
		hw := must(unix.FcntlInt(w.Fd(), unix.F_DUPFD_CLOEXEC, 0))
		extra = append(extra, hr, hw)
		return &Attr{Files: []File{{Child: 0, Parent: FD(hr)}, {Child: 1, Parent: FD(hw)}, {Child: 2, Parent: FD(hw)}}}
	}
	var plain, piped []float64
	for b.Loop() { // a round: few, many
		few, fewPiped := measure(nil), measure(pipes())
		fill(many)
		lots, lotsPiped := measure(nil), measure(pipes())
		drop()
		plain = append(plain, float64(lots)/float64(few))
		piped = append(piped, float64(lotsPiped)/float64(fewPiped))
		b.Logf("with 10 descriptors %v, with pipes %v; with %d: %v, with pipes %v", few, fewPiped, many, lots, lotsPiped)
	}
	b.ReportMetric(median(plain), "many/few")
	b.ReportMetric(median(piped), "many/few-pipes")
	b.ReportMetric(0, "ns/op")
}

func nofileMax(b *testing.B) uint64 {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
		b.Fatal(err)
	}
	return now.Max
}

func must(fd int, err error) int {
	if err != nil {
		panic(err)
	}
	return fd
}

func median[T int64 | float64 | time.Duration](list []T) T {
	s := slices.Clone(list)
	slices.Sort(s)
	return s[len(s)/2]
}
