//go:build linux

package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// A child that is another user, whom its parent may not signal, is killed all
// the same when the context of its start ends.
func TestCancelOther(t *testing.T) {
	helper.SkipEmulated(t, "way to start a program for its own machine")
	needCapability(t, unix.CAP_SETUID, "become another")
	needCapability(t, unix.CAP_SETPCAP, "give up CAP_KILL")
	if f, err := vspawn.Features(); err != nil || !f.Pidfd {
		t.Skip("there is no pidfd (Linux 5.4)")
	}
	if text("/proc/sys/fs/suid_dumpable") == "1\n" {
		t.Skip("fs.suid_dumpable is 1: it can't be done safely")
	}
	all, err := strconv.ParseUint(statusField("self", "CapBnd"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	change := vspawn.Caps(unix.CAP_SETUID, unix.CAP_SETGID)
	for _, parent := range []struct {
		name string
		attr vspawn.Attr
	}{
		{"root", vspawn.Attr{Bounding: vspawn.Ptr(vspawn.CapSet(all) &^ vspawn.Caps(unix.CAP_KILL))}},
		{"user", vspawn.Attr{UID: vspawn.Ptr(1000), GID: vspawn.Ptr(1000), Ambient: change,
			Capabilities: &vspawn.Capabilities{Permitted: change, Effective: change, Inheritable: change}}},
	} {
		t.Run(parent.name, func(t *testing.T) {
			path, _ := quick(t)
			p, err := start(t, otherHelper.Argv(path, strconv.Itoa(helper.Rounds(60)), tiny.Sleep(t)), &parent.attr)
			if err != nil {
				t.Fatal(err)
			}
			wait(t, p, "exit status 0")
		})
	}
}

// otherHelper has children that are another user: one that must not live, and starts
// that are cancelled, of one that hangs in exec, and of some at any moment. Its
// arguments are a program that ends, how many, and a program that does not end.
var otherHelper = helper.New("other", func(args []string) int {
	rounds, _ := strconv.Atoi(args[1])
	// The first one is for a process in which nothing else opens descriptors yet.
	err := errors.Join(startClosed(args[2]), cancelHanging(args[0]), cancelAnyTime(args[0], rounds))
	left := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
	if left != unix.ECHILD {
		err = errors.Join(err, fmt.Errorf("a child is left: %v", left))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
})

var another = vspawn.Attr{UID: vspawn.Ptr(65534), GID: vspawn.Ptr(65534), KeepGroups: true}

// cancelHanging cancels a start whose child waits in exec for a lease to be
// given back. The program would then be another, which ends.
func cancelHanging(ends string) error {
	dir, err := os.MkdirTemp("", "other-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, []byte("#!"+ends), 0o755); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	broken := make(chan os.Signal, 1) // the kernel asks for the lease
	signal.Notify(broken, unix.SIGIO)
	defer signal.Stop(broken)
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		return fmt.Errorf("F_SETLEASE: %w", err)
	}
	ctx, cancel := context.WithCancelCause(noContext)
	defer cancel(nil)
	go func() {
		<-broken
		cancel(errEnough)
	}()
	p, err := vspawn.Start(ctx, path, nil, &another)
	if err == nil {
		return errors.Join(errors.New("it was started"), reap(p))
	}
	if !errors.Is(err, errEnough) {
		return fmt.Errorf("got %w, want %w", err, errEnough)
	}
	return nil
}

// cancelAnyTime cancels starts, which give the cause, or a child that runs.
func cancelAnyTime(path string, rounds int) error {
	plan, err := vspawn.Compile(path, nil, &another)
	if err != nil {
		return err
	}
	for i := range rounds {
		ctx, cancel := context.WithCancelCause(noContext)
		var canceller sync.WaitGroup
		canceller.Go(func() {
			for range i * i {
				runtime.Gosched()
			}
			cancel(errEnough)
		})
		p, err := plan.Start(ctx)
		canceller.Wait()
		if err == nil {
			var s *vspawn.State
			if s, err = p.Wait(noContext); err == nil && !s.Success() {
				err = fmt.Errorf("the child ended with %v", s)
			}
		}
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
	}
	return nil
}

// startClosed starts a child whose own pidfd has got the number of what it was to
// be given. It is killed for that.
func startClosed(path string) error {
	// The runtime's poller comes with the first timer.
	hang := time.AfterFunc(patience, func() {
		fmt.Fprintln(os.Stderr, "the start hangs")
		os.Exit(1)
	})
	defer hang.Stop()
	if _, err := vspawn.Features(); err != nil {
		return err
	}
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	attr := another
	attr.Files, attr.Pdeathsig = []vspawn.File{{Child: 0, Parent: vspawn.FD(fd)}}, unix.SIGKILL
	plan, err := vspawn.Compile(path, nil, &attr)
	if err != nil {
		return err
	}
	unix.Close(fd)
	if p, err := plan.Start(noContext); !errors.Is(err, unix.EBADF) {
		return fmt.Errorf("got %v, %v, want EBADF", p, err)
	}
	return nil
}
