//go:build linux

package vspawn

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkStartWait compares the start of a static child that does nothing,
// and the wait for it, with all other ways to do so. The ways take turns,
// round after round, so that a machine that slows down slows all of them; the
// table has the median, and the median of the ratios to C's vfork in the same
// round. Run it on an idle machine:
//
//	go test -run '^$' -bench StartWait -benchtime 200x ./vspawn
//
// With a benchtime of Nx it runs N rounds.
func BenchmarkStartWait(b *testing.B) {
	const perRound = 20
	child := noopChild(b)
	peers := goPeers(b, child)
	peers = append(peers, cPeers(b, child)...)

	for _, p := range peers {
		p.run(b, perRound) // warm up
	}
	for b.Loop() {
		for i := range peers {
			p := &peers[i]
			start := time.Now()
			if own := p.run(b, perRound); own > 0 {
				p.took = append(p.took, own/perRound)
			} else {
				p.took = append(p.took, time.Since(start)/perRound)
			}
		}
	}
	report(b, peers)
}

// A peer is one way to start a child and wait for it.
type peer struct {
	name string
	run  func(b *testing.B, n int) time.Duration // 0: to be timed from outside
	took []time.Duration
}

func goPeers(b *testing.B, child string) []peer {
	ctx := context.Background()
	argv := []string{child}
	plan, err := Compile(child, argv, nil)
	if err != nil {
		b.Fatal(err)
	}
	loop := func(once func() error) func(*testing.B, int) time.Duration {
		return func(b *testing.B, n int) time.Duration {
			for range n {
				if err := once(); err != nil {
					b.Fatal(err)
				}
			}
			return 0
		}
	}
	wait := func(p *Process, err error) error {
		if err == nil {
			_, err = p.Wait(ctx)
		}
		return err
	}
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	return []peer{
		{name: "vspawn Plan.Start", run: loop(func() error { return wait(plan.Start(ctx)) })},
		{name: "vspawn Start", run: loop(func() error { return wait(Start(ctx, child, argv, nil)) })},
		{name: "syscall.ForkExec", run: loop(func() error {
			pid, err := syscall.ForkExec(child, argv, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
			if err == nil {
				_, err = syscall.Wait4(pid, nil, 0, nil)
			}
			return err
		})},
		{name: "os.StartProcess", run: loop(func() error {
			p, err := os.StartProcess(child, argv, &os.ProcAttr{Files: files})
			if err == nil {
				_, err = p.Wait()
			}
			return err
		})},
		{name: "os/exec Run", run: loop(func() error {
			c := exec.Command(child)
			c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
			return c.Run()
		})},
	}
}

// cPeers are the ways in C. They run in a process of their own, which measures
// itself. Without a C compiler there are none.
func cPeers(b *testing.B, child string) []peer {
	cc, err := exec.LookPath("cc")
	if err != nil {
		b.Log("no C compiler: not compared with C")
		return nil
	}
	bin := filepath.Join(b.TempDir(), "peer")
	if out, err := exec.Command(cc, "-O2", "-o", bin, "testdata/peer.c").CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", cc, err, out)
	}
	cmd := exec.Command(bin, child)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	answers := bufio.NewScanner(out)
	run := func(method string) func(*testing.B, int) time.Duration {
		return func(b *testing.B, n int) time.Duration {
			var d time.Duration
			fmt.Fprintln(in, method, n)
			if !answers.Scan() {
				b.Fatalf("C %s failed", method)
			}
			fmt.Sscan(answers.Text(), &d)
			return d
		}
	}
	return []peer{{name: "C vfork", run: run("vfork")}, {name: "C posix_spawn", run: run("spawn")}}
}

func report(b *testing.B, peers []peer) {
	base := peers[0]
	for _, p := range peers {
		if p.name == "C vfork" {
			base = p
		}
	}
	var t strings.Builder
	fmt.Fprintf(&t, "%d rounds\n%-20s %10s  ratio to %s\n", len(base.took), "", "median", base.name)
	for _, p := range peers {
		ratios := make([]float64, len(p.took))
		for i := range p.took {
			ratios[i] = float64(p.took[i]) / float64(base.took[i])
		}
		fmt.Fprintf(&t, "%-20s %10v  %.2f\n", p.name, median(p.took).Round(100*time.Nanosecond), median(ratios))
	}
	b.Log(t.String())
	b.ReportMetric(float64(median(peers[0].took)), "ns/start")
	b.ReportMetric(0, "ns/op") // of a whole round: means nothing
}

func median[T int64 | float64 | time.Duration](list []T) T {
	s := slices.Clone(list)
	slices.Sort(s)
	return s[len(s)/2]
}

// noopChild writes a static program that exits at once: an ELF header, one
// program header, and three instructions.
func noopChild(tb testing.TB) string {
	const base, headers = 0x400000, 64 + 56
	arch, ok := map[string]struct {
		machine uint16
		code    []byte // exit_group(0)
	}{
		"amd64":   {62, []byte{0x31, 0xff, 0xb8, 231, 0, 0, 0, 0x0f, 0x05}},
		"arm64":   {183, []byte{0, 0, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4}},
		"riscv64": {243, []byte{0x13, 5, 0, 0, 0x93, 8, 0xe0, 5, 0x73, 0, 0, 0}},
	}[runtime.GOARCH]
	if !ok {
		tb.Skipf("no child for %s", runtime.GOARCH)
	}
	f := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	le := binary.LittleEndian
	f = le.AppendUint16(f, 2) // ET_EXEC
	f = le.AppendUint16(f, arch.machine)
	f = le.AppendUint32(f, 1)
	for _, v := range []uint64{base + headers, 64, 0} { // entry, program headers, sections
		f = le.AppendUint64(f, v)
	}
	f = le.AppendUint32(f, 0)
	for _, v := range []uint16{64, 56, 1, 64, 0, 0} {
		f = le.AppendUint16(f, v)
	}
	size := uint64(headers + len(arch.code))
	f = le.AppendUint32(f, 1) // PT_LOAD
	f = le.AppendUint32(f, 5) // read, execute
	for _, v := range []uint64{0, base, base, size, size, 0x1000} {
		f = le.AppendUint64(f, v)
	}
	path := filepath.Join(tb.TempDir(), "noop")
	if err := os.WriteFile(path, append(f, arch.code...), 0o755); err != nil {
		tb.Fatal(err)
	}
	return path
}
