//go:build linux

package exec

import (
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// TestSpeed measures, in VSPAWN_SPEED rounds, and checks nothing: it is what `make bench` runs
// in the guests, and says "speed: way = microseconds" of each round's mean.
func TestSpeed(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("VSPAWN_SPEED"))
	if err != nil {
		t.Skip("VSPAWN_SPEED says in no number of rounds that the ways are to be measured")
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-gcflags" && strings.Contains(s.Value, "-l") {
				t.Skip("this binary is built without inlining: the other one is measured")
			}
		}
	}
	argv := []string{tiny.Exit(t, 0)}
	plan, err := vspawn.Compile(argv[0], argv, nil)
	if err != nil {
		t.Fatal(err)
	}
	ways := []struct {
		name string
		once func() error
	}{
		{"vspawn Plan", func() error { return startAndWait(plan) }},
		{"vspawn Run", func() error { _, err := plan.Run(context.Background()); return err }},
		{"vspawn/exec Run", func() error { return runs["own"](argv) }},
		{"os/exec Run", func() error { return runs["std"](argv) }},
		{"syscall.ForkExec", func() error { return forkExec(argv) }},
	}
	const perTurn = 10
	for round := -1; round < rounds; round++ { // the first is to warm up
		for _, way := range ways {
			begin := time.Now()
			for range perTurn {
				if err := way.once(); err != nil {
					t.Fatal(way.name, ": ", err)
				}
			}
			if took := time.Since(begin); round >= 0 {
				t.Logf("speed: %s = %d", way.name, took.Microseconds()/perTurn)
			}
		}
	}
}

func forkExec(argv []string) error {
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err == nil {
		_, err = syscall.Wait4(pid, nil, 0, nil)
	}
	return err
}
