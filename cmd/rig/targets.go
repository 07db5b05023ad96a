package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/vspawn/vspawn/qemu"
)

func listTargets(_ context.Context, _ *options, out *os.File) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "target\tGOARCH\tkernels\tsuites\temulator\tmachine\tprocessors\tmemory\truns")
	for _, t := range qemu.Targets {
		runs := "always"
		if t.Extra {
			runs = "if named"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s,%s\t%d\t%d MB\t%s\n", t.Name, t.GOARCH, t.AllKernels(), t.AllSuites(), t.QEMU, t.Machine, t.CPU, t.CPUs, t.MemoryMB, runs)
	}
	return w.Flush()
}
