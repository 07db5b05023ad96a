//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// What only root can do.
const (
	otherUser     = "SIGQUIT to another user"
	realTimeLimit = "RLIMIT_RTTIME"
)

// A child that dies by a signal that dumps core, wherever on its way, leaves
// its parent alive: on kernels before 5.16, too, where the dump takes all who
// share the memory along, unless it is not dumpable. The control shows that
// there the parent dies without that.
func TestCoreDumpSparesParent(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	for _, mode := range []string{"as found", "with the answer"} {
		t.Run(mode, func(t *testing.T) {
			if last, end := runMother(t, mode, ""); end != nil || last != "lives" {
				t.Errorf("the parent ended by %v in %q", end, last)
			}
		})
	}
	controls := []string{"SIGQUIT before Setsid", "SIGABRT behind the mask", "RLIMIT_FSIZE before Groups",
		"a filter that ends it at execve", "a filter that refuses 4 ways out", "RLIMIT_CPU"}
	t.Run(realTimeLimit, func(t *testing.T) {
		p, err := Start(t.Context(), exits(t, 0)[0], exits(t, 0),
			&Attr{Scheduler: &Scheduler{Policy: unix.SCHED_FIFO, Priority: 1}})
		if errors.Is(err, unix.EPERM) {
			t.Skip("no real-time policy for us: ", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Wait(t.Context())
		controls = append(controls, realTimeLimit)
		for _, mode := range []string{"as found", "with the answer"} {
			if last, end := runMother(t, mode, realTimeLimit); end != nil || last != "lives" {
				t.Errorf("%s: the parent ended by %v in %q", mode, end, last)
			}
		}
	})
	for _, only := range controls {
		t.Run("without the answer: "+only, func(t *testing.T) {
			last, end := runMother(t, "without the answer", only)
			if last == noSuchWay {
				t.Fatal(last)
			}
			if lives := end == nil && last == "lives"; lives != releaseAtLeast(5, 16) {
				t.Errorf("the parent lives: %t", lives)
			}
		})
	}
}

// So it is when fs.suid_dumpable has the kernel make memory dumpable upon a
// change of credentials, and for a parent whose own flag is 0 or 2.
func TestCoreDumpSuidDumpable(t *testing.T) {
	const sysctl = "/proc/sys/fs/suid_dumpable"
	run := func(mode, only string) {
		t.Helper()
		if last, end := runMother(t, mode, only); end != nil || last != "lives" {
			t.Errorf("the parent ended by %v in %q", end, last)
		}
	}
	helper.SkipEmulated(t, "signals that are sent to a child of vfork")
	const any = "SIGQUIT behind the mask"
	run("with a flag of 0", any)
	if os.Getenv("VSPAWN_TARGET") == "" || os.Getuid() != 0 {
		t.Skip("the rest is for root of a guest: it changes " + sysctl)
	}
	was, err := os.ReadFile(sysctl)
	if err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(sysctl, was, 0)
	for _, value := range []string{"0", "1", "2"} {
		if err := os.WriteFile(sysctl, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
		run("as found", otherUser)
		run("with the answer", otherUser)
		if value == "2" {
			run("with a flag of 2", any)
		}
	}
}

// Whose files below /proc are root's while the flag is off can still start
// children that need them, many at once: with id maps, and with OOMScoreAdj.
func TestUndumpableForOthers(t *testing.T) {
	helper.SkipEmulated(t, "namespaces")
	for _, mode := range []string{"as found", "undumpable"} {
		cmd := modest.Command(tiny.Exit(t, 0), mode)
		out, err := cmd.Output()
		if cmd.ProcessState.ExitCode() == notAllowed {
			t.Skipf("not allowed to become another user: %s", out)
		}
		if err != nil || string(out) != "" {
			t.Errorf("%s: %v: %s", mode, err, out)
		}
	}
}

const notAllowed = 42

var modest = helper.New("modest", func(args []string) int {
	if os.Geteuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(1000, 1000, 1000),
			syscall.Setresuid(1000, 1000, 1000)); err != nil {
			fmt.Print(err)
			return notAllowed
		}
	}
	dumpable.set(1)
	found, err := probe()
	if err != nil {
		panic(err)
	}
	as := *found
	as.LoneCoreDump = args[1] == "as found" && as.LoneCoreDump
	features.found.Store(&as)
	maps := Attr{Cloneflags: unix.CLONE_NEWUSER,
		UIDMap: []IDMap{{0, os.Getuid(), 1}}, GIDMap: []IDMap{{0, os.Getgid(), 1}}}
	root := maps
	root.UID, root.GID, root.KeepGroups = Ptr(0), Ptr(0), true
	both := maps
	both.OOMScoreAdj = Ptr(500)
	attrs := []*Attr{{}, {OOMScoreAdj: Ptr(500)}, &maps, &root, &both}
	start := func(attr *Attr) error {
		p, err := Start(context.Background(), args[0], nil, attr)
		if err == nil {
			_, err = p.Wait(context.Background())
		}
		return err
	}
	if err := start(attrs[2]); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		attrs = attrs[:2] // no user namespaces for us
	} else if err := start(&both); err != nil { // alone, with nobody to hold it up
		fmt.Println("id maps and OOMScoreAdj:", err)
	}
	// What is refused for good is not tried again: its steps would be made anew.
	plan, err := Compile(args[0], nil, &Attr{OOMScoreAdj: Ptr(-1000)})
	if err != nil {
		panic(err)
	}
	if _, err := plan.Start(context.Background()); !errors.Is(err, unix.EACCES) || plan.passing(err, &as) {
		fmt.Println("OOMScoreAdj of -1000:", err)
	}
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range 8 {
		all.Go(func() {
			for range helper.Rounds(100) {
				if err := start(attrs[i%len(attrs)]); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		fmt.Println(*err)
	}
	// Another goroutine than Wait's may be about to turn it on.
	for end := time.Now().Add(time.Minute); dumpable.get() != 1 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if dumpable.get() != 1 {
		fmt.Println("the flag is off")
	}
	return 0
})
