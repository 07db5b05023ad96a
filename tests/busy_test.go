//go:build linux

package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// A program that one goroutine has just written and closed can be started,
// while others start children: none of these holds the writer's descriptor, so
// there is no ETXTBSY (golang/go#22315). The control: under os/exec it happens.
//
// VSPAWN_ROUNDS=10000 asks for a long run, with the control.
func TestTextNotBusy(t *testing.T) {
	helper.SkipEmulated(t, "way to start a program for its own machine")
	rounds, control := helper.Rounds(100), false
	if n, err := strconv.Atoi(os.Getenv("VSPAWN_ROUNDS")); err == nil {
		rounds, control = n, true
	}
	ctx := context.Background()

	byVspawn := func(path string, files ...*os.File) error {
		attr := &vspawn.Attr{}
		for i, f := range files {
			attr.Files = append(attr.Files, vspawn.File{Child: i, Parent: f})
		}
		p, err := vspawn.Start(ctx, path, nil, attr)
		if err == nil {
			_, err = p.Wait(ctx)
		}
		return err
	}
	if n := busy(t, rounds, byVspawn); n != 0 {
		t.Errorf("vspawn: text file busy in %d of %d rounds", n, rounds)
	}
	if !control {
		return
	}
	byOS := func(path string, files ...*os.File) error {
		cmd := exec.Command(path)
		if files != nil {
			cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
		}
		return cmd.Run()
	}
	t.Logf("os/exec: text file busy in %d of %d rounds", busy(t, rounds, byOS), rounds)
}

// busy writes a program and starts it, round after round, while others start
// children with pipes, and counts how often it was busy.
func busy(t *testing.T, rounds int, start func(path string, files ...*os.File) error) (count int) {
	dir := t.TempDir()
	fixed := tiny.Exit(t, 0)
	program, err := os.ReadFile(fixed)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			r, w, err := os.Pipe()
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			defer w.Close()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := start(fixed, r, w, w); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	path := filepath.Join(dir, "written")
	for range rounds {
		if err := os.WriteFile(path, program, 0o755); err != nil {
			t.Fatal(err)
		}
		switch err := start(path); {
		case errors.Is(err, unix.ETXTBSY):
			count++
		case err != nil:
			t.Error(err)
		}
		os.Remove(path)
	}
	close(stop)
	wg.Wait()
	return count
}

// A program can be started as soon as it is written, while other goroutines
// start children: none of them holds the writer's descriptor, which would make
// exec answer ETXTBSY (golang/go#22315).
func TestWrittenThenStarted(t *testing.T) {
	if f, err := vspawn.Features(); err != nil || !f.CloseRangeUnshare {
		t.Skip("there is no close_range with CLOSE_RANGE_UNSHARE and shared memory")
	}
	program := tiny.Exit(t, 0)
	var stop atomic.Bool
	var others sync.WaitGroup
	defer others.Wait()
	defer stop.Store(true)
	for range 2 {
		others.Go(func() {
			for !stop.Load() {
				p, err := vspawn.Start(t.Context(), program, nil, nil)
				if err != nil {
					t.Error(err)
					return
				}
				reap(p)
			}
		})
	}
	script := "#!" + program + "\n"
	dir := t.TempDir()
	for i := range 20 {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		p, err := vspawn.Start(t.Context(), path, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		wait(t, p, "exit status 0")
	}
}
