//go:build linux

package tests

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// grows is a process that has others, by its arguments: "wide N DEPTH" has N, each of
// which has as many, and so on; "chain N" has one, and that the next; "orphan" one whose
// parent has ended, "away" one that is in another session besides. Each writes a byte to its
// standard output, and waits for the end of its input, with that open.
var growsHelper = helper.New("grows", func(args []string) int {
	switch args[0] {
	case "wide", "chain":
		n, depth := 1, atoi(args[1])
		if args[0] == "wide" {
			n, depth = atoi(args[1]), atoi(args[2])
		}
		for range n {
			if depth == 0 {
				break
			}
			argv := []string{"chain", strconv.Itoa(depth - 1)}
			if args[0] == "wide" {
				argv = []string{"wide", args[1], strconv.Itoa(depth - 1)}
			}
			if err := growHelper(false, argv...); err != nil {
				return 1
			}
		}
	case "orphan", "away":
		// One in between, which ends.
		if err := growHelper(args[0] == "away", "between"); err != nil {
			return 1
		}
	case "between":
		if err := growHelper(false, "chain", "0"); err != nil {
			return 1
		}
		return 0
	}
	os.Stdout.WriteString("x")
	os.Stdin.Read(make([]byte, 1)) // until the test is over, should it fail
	return 0
})

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func growHelper(session bool, args ...string) error {
	argv := slices.Concat(os.Args[:2], args) // as it was started itself
	p, err := vspawn.Start(noContext, program(argv), argv, &vspawn.Attr{Setsid: session})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return err
	}
	if args[0] == "between" {
		_, err = p.Wait(noContext)
		return err
	}
	return p.Close()
}

// A grove is a tree of processes, as far as it has grown.
type grove struct {
	*vspawn.Process
	out *os.File
}

// grow starts a tree, and waits until it has n processes.
func grow(t *testing.T, attr vspawn.Attr, n int, args ...string) *grove {
	t.Helper()
	argv := growsHelper.Argv(args...)
	r, w := blockingPipe(t)
	in, _ := blockingPipe(t)
	attr.Files = []vspawn.File{{Child: 0, Parent: in}, {Child: 1, Parent: w}, {Child: 2, Parent: vspawn.FD(2)}}
	p, err := vspawn.Start(t.Context(), program(argv), argv, &attr)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	g := &grove{p, r}
	if _, err := io.ReadFull(r, make([]byte, n)); err != nil {
		t.Error(err)
	}
	return g
}

// dead waits until nothing of the tree is left: none has its output open.
func (g *grove) dead(t *testing.T) {
	t.Helper()
	if err := g.KillTree(); err != nil {
		t.Error(err)
	}
	over := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, g.out)
		over <- err
	}()
	select {
	case err := <-over:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("some of the tree are left")
	}
	s, err := g.Wait(t.Context())
	if err != nil || s.Signal() != unix.SIGKILL {
		t.Errorf("the child's end: %v, %v", s, err)
	}
	equal(t, "then", g.KillTree(), os.ErrProcessDone)
}
