package qemu

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
)

func TestOnKernels(t *testing.T) {
	for _, x := range []struct{ targets, list, want, said string }{
		{"amd64,riscv64", "", "amd64, riscv64", ""},
		{"amd64,riscv64", "all", "amd64 6.12, amd64 7.2, amd64 6.1, amd64 5.10, amd64 7.2-preempt, riscv64 6.12, riscv64 7.2, riscv64 6.12-faults", ""},
		{"amd64,riscv64", "5.10, 7.2", "amd64 7.2, amd64 5.10, riscv64 7.2", "riscv64 has no kernel 5.10: it has 6.12, 7.2, 6.12-faults\n"},
		{"riscv64", "forky", "riscv64 7.2", ""},
		{"amd64", "forky-preempt", "amd64 7.2-preempt", ""},
		{"riscv64", "6.12-faults", "riscv64 6.12-faults", ""},
		{"riscv64-nommu", "6.12", "riscv64-nommu 6.12", ""},
	} {
		targets, err := Select(x.targets)
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		on, err := OnKernels(targets, x.list, &said)
		if err != nil {
			t.Errorf("%q: %v", x.list, err)
		}
		if got := strings.Join(titlesOf(on), ", "); got != x.want || said.String() != x.said {
			t.Errorf("%q: %q, said %q; want %q, %q", x.list, got, &said, x.want, x.said)
		}
	}
	for list, want := range map[string]string{"4.19": `unknown kernel "4.19": choose from 6.12, 7.2, 6.1, 5.10, 7.2-preempt, 6.12-faults, the suites trixie, forky, bookworm, bullseye, forky-preempt, trixie-faults, or all`, "5.10": "none of the targets", "all,5.10": `unknown kernel "all"`} {
		targets, _ := Select("riscv64")
		_, err := OnKernels(targets, list, new(strings.Builder))
		if !usage.Is(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", list, err, want)
		}
	}
}

// Who asks for a kernel by name gets that or none, and who asks for all what
// there is; a target's own comes from the first row, and else from the others.
func TestSuites(t *testing.T) {
	amd64, _ := lookup("amd64")
	suites := func(list string) []supply.Suite {
		on, err := OnKernels([]Target{amd64}, list, new(strings.Builder))
		if err != nil {
			t.Fatal(err)
		}
		return on[min(3, len(on)-1)].Kernel.(supply.Packaged).Suites
	}
	if got := suites("5.10"); !slices.Equal(got, []supply.Suite{{Name: "bullseye", Series: "5.10"}}) {
		t.Errorf("5.10: %v", got)
	}
	if got := suites("bullseye"); !slices.Equal(got, []supply.Suite{{Name: "bullseye"}}) {
		t.Errorf("bullseye: %v", got)
	}
	if got := suites("7.2-preempt"); !slices.Equal(got, []supply.Suite{{Name: "forky", Series: "7.2"}}) {
		t.Errorf("7.2-preempt: %v", got)
	}
	if got := suites("all"); !slices.Equal(got, []supply.Suite{{Name: "bullseye"}}) {
		t.Errorf("all: %v", got)
	}
	if got := suites(""); got[0] != (supply.Suite{Name: "trixie"}) || len(got) != 5 {
		t.Errorf("none: %v", got)
	}
}

// The tables name each other, and each target has a kernel.
func TestSeries(t *testing.T) {
	for _, s := range allSeries {
		for _, name := range s.targets {
			if _, ok := lookup(name); !ok {
				t.Errorf("%s: no target %s", s.name, name)
			}
		}
		v := s.version()
		if seriesOf(v+".7-1") != v || seriesOf(v+"-rc1") != v {
			t.Errorf("series of %s: %s", v, seriesOf(v+".7-1"))
		}
		if plain := v == s.name; plain != (s.differs == nil) {
			t.Errorf("%s: its name tells of a difference, or there is one: not both", s.name)
		}
	}
	for _, target := range Targets {
		if len(target.series()) == 0 {
			t.Errorf("%s has no kernel", target.Name)
		}
	}
}

// A row that differs from a plain one in more than its version keeps what it is,
// whatever its suite's kernel is by now.
func TestVariants(t *testing.T) {
	for name, want := range map[string]string{
		"7.2-preempt": "[preempt=full] 2 virtio-serial-pci", "6.12-faults": "[] 1 virtio-serial-device",
	} {
		on, err := OnKernels(Targets, name, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(on[0].Append, " ", on[0].CPUs, " ", on[0].Serial); got != want || len(on) > 1 {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if args := on[0].kernelArgs(Boot{}); len(on[0].Append) > 0 && !slices.Contains(args, on[0].Append[0]) {
			t.Errorf("%s: the kernel is told %q", name, args)
		}
	}
	for _, target := range Targets { // the table's own rows are as they were
		if len(target.Append) > 0 {
			t.Errorf("%s has %q", target.Name, target.Append)
		}
	}
}
