// Rig runs the project's tests in virtual machines, and does the set-up.
//
// Synopsis:
//
//	rig COMMAND
//
// Its options are environment variables, which the Makefile passes on: see
// `rig help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/vspawn/vspawn/internal/usage"
)

// The exit statuses.
const (
	statusFailed = usage.StatusFailed // a test failed, or something that should work did not
	statusUsage  = usage.StatusUsage  // the caller can mend it, or something could not run
)

// errFailed says that the output has told already what failed.
var errFailed = errors.New("failed")

// errMissed says that nothing failed, and the output has told what could not run.
var errMissed = errors.New("not all could run")

// A command is one word of the command line.
type command struct {
	name, text string
	run        func(ctx context.Context, o *options, out *os.File) error
	anywhere   bool // needs nothing of the module
}

func commands() []command {
	return []command{
		{name: "test", text: "run the tests in the guests", run: runTests},
		{name: "std", text: "run the standard library's tests on " + stdTarget, run: testStd},
		{name: "soak", text: "start children at random for MINUTES, on this machine and in the guests", run: soak},
		{name: "check", text: "vet, lint, and run the tests on this machine", run: check},
		{name: "fuzz", text: "try random input on all fuzz targets, for MINUTES", run: fuzz},
		{name: "image", text: "build build/<target>/initramfs.cpio.gz", run: buildImages},
		{name: "run", text: "boot the image of one target to a shell; Ctrl-A X leaves it", run: runShell},
		{name: "kernel", text: "fetch or build the kernels, newer ones if there are", run: fetchKernels},
		{name: "setup", text: "install the packages that are missing", run: setup},
		{name: "targets", text: "list the targets", run: listTargets, anywhere: true},
		{name: "options", text: "list the options", run: func(_ context.Context, _ *options, out *os.File) error { return listOptions(out) }, anywhere: true},
		{name: "help", text: "show this", run: func(_ context.Context, _ *options, out *os.File) error { return help(out) }, anywhere: true},
	}
}

func help(w io.Writer) error {
	fmt.Fprintln(w, "rig COMMAND, with options from the environment (make passes its variables on)")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\ncommands:")
	for _, c := range commands() {
		fmt.Fprintf(tw, "  %s\t%s\n", c.name, c.text)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	return listOptions(w)
}

func listOptions(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\noptions:")
	for _, v := range variables {
		fmt.Fprintf(tw, "  %s\t%s\n", v.usage, v.text)
	}
	return tw.Flush()
}

func main() {
	// A second interrupt ends the program at once: QEMU dies with it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	os.Exit(status(mainErr(ctx, os.Args[1:])))
}

func mainErr(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return usage.Errorf("one command is wanted: rig help lists them")
	}
	for _, c := range commands() {
		if c.name == args[0] {
			o, err := parseOptions(os.Environ())
			if err != nil {
				return err
			}
			if err := inModule(); err != nil && !c.anywhere {
				return err
			}
			return c.run(ctx, o, os.Stdout)
		}
	}
	return usage.Errorf("unknown command %q: rig help lists them", args[0])
}

// inModule tells whether this is the folder whose tests the rig runs: elsewhere it
// would fetch and build for minutes before it finds none.
func inModule() error {
	const module = "module github.com/vspawn/vspawn\n"
	if b, err := os.ReadFile("go.mod"); err != nil || !strings.HasPrefix(string(b), module) {
		return usage.Errorf("this is not the folder of vspawn's go.mod: run make there")
	}
	return nil
}

// status prints err, if it isn't told yet, and gives the exit status.
func status(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFailed):
		return statusFailed
	case errors.Is(err, errMissed):
		return statusUsage
	case errors.Is(err, context.Canceled):
		err = errors.New("interrupted")
	}
	fmt.Fprintln(os.Stderr, "rig:", err)
	return usage.Status(err)
}
