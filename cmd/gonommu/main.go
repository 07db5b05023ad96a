// gonommu builds Go programs that a riscv64 kernel without an MMU loads.
//
// Synopsis:
//
//	gonommu build [-stack SIZE] [-maxorder N] [BUILD FLAG]... [PACKAGE]...
//	gonommu test -c [-stack SIZE] [-maxorder N] [BUILD FLAG]... [PACKAGE]...
//	gonommu info FILE...
//
// Description:
//
//	build does what go build does, for GOOS=linux GOARCH=riscv64 and no MMU.
//	Its flags are those of go build: -o, -tags, -ldflags, -trimpath and others.
//	test -c builds test binaries in the same way. Flags that mean nothing for this
//	target are refused, in GOFLAGS and in the file of go env -w as well.
//
//	info prints what a file made by it needs.
//
//	The exit status is 2 for what the user can mend: bad usage, cgo, a program
//	that is too large for the kernel, a Go release that is not known. Then
//	there is one line that says so, and no file.
//
// Options:
//
//	-stack SIZE     stack of the first thread, as in 256K
//	-maxorder N     the kernel's MAX_PAGE_ORDER: a program may span 4 KiB << N
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/nommu"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	os.Exit(status(run(ctx, os.Stdout, os.Stderr, os.Args[1:]), os.Stderr))
}

// status prints err and gives the exit status for it.
func status(err error, stderr io.Writer) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		err = errors.New("interrupted")
	}
	fmt.Fprintf(stderr, "gonommu: %s\n", strings.TrimPrefix(err.Error(), "nommu: "))
	return usage.Status(err)
}

func run(ctx context.Context, stdout, stderr io.Writer, args []string) error {
	const want = "want gonommu build, gonommu test -c, or gonommu info FILE"
	if len(args) == 0 {
		return usage.Errorf("no command: %s", want)
	}
	switch command, args := args[0], args[1:]; command {
	case "build":
		return build(ctx, stderr, nommu.Options{Args: args})
	case "test":
		if len(args) == 0 || strings.TrimLeft(args[0], "-") != "c" {
			return usage.Errorf("gonommu test runs no tests, as they are for another machine: -c must come first")
		}
		return build(ctx, stderr, nommu.Options{Args: args[1:], Test: true})
	case "info":
		return info(stdout, args)
	default:
		return usage.Errorf("unknown command %q: %s", command, want)
	}
}

// build takes the options that are gonommu's own from the arguments.
func build(ctx context.Context, stderr io.Writer, o nommu.Options) error {
	o.Stderr = stderr
	var err error
	var rest []string
	for i := 0; i < len(o.Args); i++ {
		name, value, given := strings.Cut(o.Args[i], "=")
		if name = strings.TrimLeft(name, "-"); o.Args[i] == "" || o.Args[i][0] != '-' || name != "stack" && name != "maxorder" {
			rest = append(rest, o.Args[i])
			continue
		}
		if !given {
			if i++; i == len(o.Args) {
				return usage.Errorf("-%s has no value", name)
			}
			value = o.Args[i]
		}
		if name == "stack" {
			o.Stack, err = parseSize(value)
		} else {
			o.MaxOrder, err = strconv.Atoi(value)
		}
		if err != nil {
			return usage.Errorf("-%s %s: %w", name, value, err)
		}
		if name == "stack" && o.Stack == 0 || name == "maxorder" && o.MaxOrder == 0 { // which is the default, to Build
			return usage.Errorf("-%s %s: it must be above 0", name, value)
		}
	}
	o.Args = rest
	return nommu.Build(ctx, o)
}

// parseSize reads a number of bytes, with K or M for 2 to the 10th and 20th.
func parseSize(s string) (uint64, error) {
	shift := 0
	switch digits := s[:max(len(s)-1, 0)]; {
	case strings.HasSuffix(s, "K"):
		s, shift = digits, 10
	case strings.HasSuffix(s, "M"):
		s, shift = digits, 20
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, errors.New("not a size such as 65536, 64K or 1M")
	}
	return n << shift, nil
}

func info(w io.Writer, files []string) error {
	if len(files) == 0 {
		return usage.Errorf("info: no file given")
	}
	for _, name := range files {
		i, err := nommu.Inspect(name)
		if err != nil {
			return err
		}
		if len(files) > 1 {
			fmt.Fprintf(w, "%s:\n", name)
		}
		fmt.Fprintf(w, "span         %8d KiB in one block (order %d)\n", i.Span>>10, i.Order)
		fmt.Fprintf(w, "stack        %8d KiB\n", i.Stack>>10)
		fmt.Fprintf(w, "at start     %8d KiB\n", i.Start()>>10)
		fmt.Fprintf(w, "relocations  %8d in a table of %d bytes\n", i.Relocations, i.Table)
		fmt.Fprintf(w, "file         %8d KiB\n", i.File>>10)
	}
	return nil
}
