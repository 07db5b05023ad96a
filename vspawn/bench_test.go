//go:build linux

package vspawn

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/testkit/tiny"
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
	child := tiny.Exit(b, 0)
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
