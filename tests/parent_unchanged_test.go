//go:build linux

package tests

import (
	"errors"
	"maps"
	"os"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// A parent is what a start must not change in the parent.
type parent struct {
	state
	Open     []string // descriptors, also those that state doesn't look for
	Dumpable int
}

func readParent(t *testing.T) *parent {
	t.Helper()
	p := &parent{state: *ownState()}
	p.Tid = 0
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		p.Open = append(p.Open, e.Name())
	}
	p.Dumpable = flag(t)
	return p
}

// readParentWhen reads until ok, or for a minute. vspawn may still be looking at the
// process's children, of which it has files open for a moment: it does that behind a
// start with other credentials, also when another look has brought the flag back.
func readParentWhen(t *testing.T, ok func(*parent) bool) *parent {
	t.Helper()
	p := readParent(t)
	for end := time.Now().Add(time.Minute); !ok(p) && time.Now().Before(end); p = readParent(t) {
		time.Sleep(time.Millisecond)
	}
	return p
}

func (p *parent) sameFiles(other *parent) bool {
	return maps.Equal(p.Files, other.Files) && slices.Equal(p.Open, other.Open)
}

// flagIs waits for the flag to come back, which it does when no other child,
// os/exec's, can be on its way.
func flagIs(t *testing.T, want int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); flag(t) != want && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// flag is our dumpable flag.
func flag(t *testing.T) int {
	t.Helper()
	v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		t.Fatal("PR_GET_DUMPABLE: ", err)
	}
	return v
}

// The parent's dumpable flag, working directory, umask, signal mask,
// descriptor table, and whatever else a child can be given, are the same after
// every kind of start, also one that fails at its end.
func TestParentUnchanged(t *testing.T) {
	program, argv := quick(t)
	runtime.LockOSThread() // the thread has a mask of its own
	defer runtime.UnlockOSThread()
	warmUp(t)
	check := func(t *testing.T, k spawnKind, wantDumpable int) {
		attr, _ := k.setUp(t)
		flagIs(t, wantDumpable)
		before := readParentWhen(t, func(p *parent) bool {
			return p.sameFiles(readParent(t)) && !momentary(openFiles())
		})
		equal(t, "dumpable flag before", before.Dumpable, wantDumpable)
		for _, path := range []string{program, "/no/such/program"} {
			p, err := vspawn.Start(t.Context(), path, argv, attr)
			if err == nil {
				wait(t, p, "exit status 0")
			} else if !errors.Is(err, unix.ENOENT) {
				t.Error(err)
			}
		}
		flagIs(t, wantDumpable)
		after := readParentWhen(t, before.sameFiles)
		was, is := reflect.ValueOf(before.state), reflect.ValueOf(after.state)
		for i := range was.NumField() {
			equal(t, "the parent's "+was.Type().Field(i).Name, is.Field(i).Interface(), was.Field(i).Interface())
		}
		equal(t, "open descriptors", after.Open, before.Open)
		equal(t, "dumpable flag", after.Dumpable, before.Dumpable)
	}
	for _, k := range kindsHere() {
		t.Run(k.name, func(t *testing.T) { check(t, k, 1) })
		if k.name != "UID and GID" {
			continue
		}
		t.Run(k.name+" by one that is not dumpable", func(t *testing.T) {
			helper.SkipEmulated(t, "PR_SET_DUMPABLE")
			if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
				t.Fatal(err)
			}
			defer vspawn.SetDumpable(1) // which is right also if a start is not quite over
			if os.Getuid() != 0 {
				t.Skip("what a process that is not dumpable has in /proc is root's")
			}
			check(t, k, 0)
		})
	}
}
