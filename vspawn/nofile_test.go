//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/seccomp"
	"github.com/vspawn/vspawn/vspawn/internal/nofile"
)

// nofileChild prints the limit of descriptors that it was started with.
var nofileChild = helper.New("nofileChild", func([]string) int {
	fmt.Println(nofile.Start.Soft, nofile.Start.Hard)
	return 0
})

// nofileParent starts the child by one plan for each of two limits, compiled
// while that is in force, while each of them is.
var nofileParent = helper.New("nofileParent", func([]string) int {
	argv := nofileChild.Argv()
	limits := []uint64{nofile.Start.Hard - 1, nofile.Start.Hard - 30} // the runtime's, and another
	set := func(soft uint64) {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: soft, Max: nofile.Start.Hard}); err != nil {
			panic(err)
		}
	}
	for _, before := range limits {
		set(before)
		plan, err := Compile(argv[0], argv, nil)
		if err != nil {
			return complain(err)
		}
		for _, soft := range limits {
			set(soft)
			if err := ended(plan.Start(context.Background())); err != nil {
				return complain(err)
			}
		}
	}
	return 0
}, nofileChild)

// Which limit of descriptors a child gets depends on the one that is in force
// when it is started, not on that of the moment when the plan was compiled.
func TestNofileAfterCompile(t *testing.T) {
	helper.SkipEmulated(t, "limits of its own")
	const soft, hard = 100, 150
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := startHelper(t, &Attr{
		Files:   []File{{Child: 0, Parent: FD(0)}, {Child: 1, Parent: w}, {Child: 2, Parent: FD(2)}},
		Rlimits: []Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: soft, Hard: hard}},
	}, nofileParent)
	w.Close()
	if s, err := p.Wait(t.Context()); err != nil || !s.Success() {
		t.Fatal(s, err)
	}
	for _, compiled := range []string{"raised", "set"} {
		for i, want := range []string{"100 150", "120 150"} {
			var gotSoft, gotHard int
			fmt.Fscan(r, &gotSoft, &gotHard)
			if got := fmt.Sprint(gotSoft, " ", gotHard); got != want {
				t.Errorf("compiled while it was %s, started while it was %s: limits %s, want %s", compiled, []string{"raised", "set"}[i], got, want)
			}
		}
	}
}

// nofileInSandbox has a limit of its own and starts the child where prlimit64 is refused.
var nofileInSandbox = helper.New("nofileInSandbox", func([]string) int {
	argv := nofileChild.Argv()
	if _, err := Features(); err != nil {
		return complain(err)
	}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 77, Max: 140}, nil); err != nil {
		return complain(err)
	}
	if err := seccomp.Deny(unix.EPERM, unix.SYS_PRLIMIT64); err != nil {
		return complain(err)
	}
	err := ended(Start(context.Background(), argv[0], argv, nil))
	var now unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &now) != nil { // the architecture has no other call, so that nobody can know
		if e := new(Error); !errors.As(err, &e) || e.Step != "prlimit64" {
			return complain(fmt.Errorf("got %v", err))
		}
		return 0
	}
	if err != nil {
		return complain(err)
	}
	return 0
}, nofileChild)

// ended waits for a child, if there is one.
func ended(p *Process, err error) error {
	if err == nil {
		_, err = p.Wait(context.Background())
	}
	return err
}

// Where the program has set another limit, a start needs no call for it, which a sandbox may
// refuse.
func TestNofileInSandbox(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	raised := []Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 100, Hard: 150}}
	endsWell(t, startHelper(t, &Attr{Rlimits: raised}, nofileInSandbox))
}
