//go:build linux

package vspawn

import (
	"errors"
	"math"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Of a number that is wider than its parameter the kernel takes the lower half, which
// may be another's: so it is refused.
func TestCompileRefusesWideNumbers(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("int has 32 bits here, so there are no wider numbers")
	}
	var wide int64 = 1 << 32 // zero, if cut off
	for _, over := range []int64{wide, 3 * wide, math.MaxInt64 &^ (wide - 1), math.MinInt64} {
		n := int(over)
		for _, x := range []struct {
			path  string
			attr  Attr
			field string
		}{
			{"/x", Attr{DirFD: FD(n)}, "DirFD"},
			{"", Attr{ExecFD: FD(n)}, "ExecFD"},
			{"/x", Attr{TTY: FD(n), Foreground: true}, "TTY"},
			{"/x", Attr{Cgroup: FD(n)}, "Cgroup"},
			{"/x", Attr{Setns: []Namespace{{FD: FD(n), Flags: unix.CLONE_NEWNET}}}, "Setns[0]"},
			{"/x", Attr{Setns: []Namespace{{Pid: n, Flags: unix.CLONE_NEWNET}}}, "Setns[0]"},
			{"/x", Attr{Files: []File{{Child: n, Parent: FD(0)}}}, "Files[0]"},
			{"/x", Attr{Files: []File{{Child: 1, Parent: FD(n)}}}, "Files[0]"},
			{"/x", Attr{Files: []File{{Child: 1, Path: "/", Flags: n}}}, "Files[0]"},
			{"/x", Attr{InheritFiles: true, CloseRanges: []Range{{First: n, NoEnd: true}}}, "CloseRanges[0]"},
			{"/x", Attr{InheritFiles: true, CloseRanges: []Range{{Last: n}}}, "CloseRanges[0]"},
			{"/x", Attr{InheritFiles: true, CloseRanges: []Range{{First: n, Last: n}}}, "CloseRanges[0]"},
			{"/x", Attr{InheritFiles: true, CloseRanges: []Range{{First: 3, Last: 3}, {First: 3, Last: n + 5}}}, "CloseRanges[1]"},
			{"/x", Attr{Pgid: &n}, "Pgid"},
			{"/x", Attr{UID: &n}, "UID"},
			{"/x", Attr{GID: &n}, "GID"},
			{"/x", Attr{Groups: []int{0, n}}, "Groups[1]"},
			{"/x", Attr{Umask: &n}, "Umask"},
			{"/x", Attr{Nice: &n}, "Nice"},
			{"/x", Attr{IOPriority: &IOPriority{Class: n}}, "IOPriority"},
			{"/x", Attr{IOPriority: &IOPriority{Class: 1, Level: n}}, "IOPriority"},
			{"/x", Attr{Scheduler: &Scheduler{Policy: n}}, "Scheduler"},
			{"/x", Attr{Scheduler: &Scheduler{Policy: n + unix.SCHED_IDLE}}, "Scheduler"},
			{"/x", Attr{Scheduler: &Scheduler{Priority: n}}, "Scheduler"},
			{"/x", Attr{Affinity: []int{n}}, "Affinity[0]"},
			{"/x", Attr{OOMScoreAdj: &n}, "OOMScoreAdj"},
			{"/x", Attr{Personality: Ptr(uintptr(over))}, "Personality"},
			{"/x", Attr{Securebits: &n}, "Securebits"},
			{"/x", Attr{Rlimits: []Rlimit{{Resource: n}}}, "Rlimits[0]"},
			{"/x", Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []IDMap{{Inside: n, Size: 1}}}, "UIDMap[0]"},
			{"/x", Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []IDMap{{Outside: n, Size: 1}}}, "UIDMap[0]"},
			{"/x", Attr{Cloneflags: unix.CLONE_NEWUSER, GIDMap: []IDMap{{Size: n}}}, "GIDMap[0]"},
			{"/x", Attr{Cloneflags: unix.CLONE_NEWUSER, GIDMap: []IDMap{{Inside: 1, Outside: 1, Size: n - 1}}}, "GIDMap[0]"},
			{"/x", Attr{Landlock: &Landlock{Net: 1, Ports: []LandlockPort{{Port: n, Allow: 1}}}}, "Landlock.Ports[0]"},
		} {
			plan, err := Compile(x.path, nil, &x.attr)
			var refused *AttrError
			if !errors.As(err, &refused) || refused.Field != x.field || plan != nil {
				t.Errorf("%#x in %s: got %v", over, x.field, err)
			}
		}
		if err := KillCgroup(FD(n)); !errors.Is(err, unix.EBADF) {
			t.Errorf("KillCgroup(%#x): got %v", over, err)
		}
	}
}

// A signal whose number is too wide is none, also where its lower half would be one.
func TestWideSignals(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("int has 32 bits here, so there are no wider numbers")
	}
	p := startSleep(t, &Attr{Pgid: Ptr(0)})
	var wide int64 = 1 << 32
	for _, s := range []int64{wide, wide + int64(unix.SIGKILL), -wide, -1} {
		for _, err := range []error{p.Signal(syscall.Signal(s)), p.SignalGroup(syscall.Signal(s))} {
			if !errors.Is(err, unix.EINVAL) {
				t.Errorf("signal %#x: got %v, want EINVAL", s, err)
			}
		}
	}
	p.Signal(unix.SIGTERM)
	if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGTERM {
		t.Errorf("got %v, %v, want an end by SIGTERM", s, err)
	}
}

// What is no wider than the kernel's parameter, and means something else there or
// nothing, is refused too; what is wide, and means what it says, is not.
func TestCompileRefusesSpecialNumbers(t *testing.T) {
	for _, x := range []struct {
		attr  Attr
		field string
	}{
		{Attr{InheritFiles: true, CloseRanges: []Range{{First: 5, Last: 3}}}, "CloseRanges[0]"},
		{Attr{InheritFiles: true, CloseRanges: []Range{{First: 5, Last: -1}}}, "CloseRanges[0]"},
		{Attr{InheritFiles: true, CloseRanges: []Range{{First: -1, NoEnd: true}}}, "CloseRanges[0]"},
		{Attr{Personality: Ptr(uintptr(math.MaxUint32))}, "Personality"}, // "which one is it?"
		{Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []IDMap{{Inside: 1, Size: math.MaxInt}}}, "UIDMap[0]"},
		{Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: []IDMap{{Outside: math.MaxInt, Size: math.MaxInt}}}, "UIDMap[0]"},
		{Attr{Setns: []Namespace{{FD: FD(-1)}}}, "Setns[0]"},
		{Attr{TTY: FD(-1), Foreground: true}, "TTY"},
		{Attr{TimerSlack: math.MinInt64}, "TimerSlack"},
	} {
		plan, err := Compile("/x", nil, &x.attr)
		var refused *AttrError
		if !errors.As(err, &refused) || refused.Field != x.field || plan != nil {
			t.Errorf("%+v: got %v, want a refusal of %s", x.attr, err, x.field)
		}
	}
	for _, dir := range []int{-1, unix.AT_FDCWD} {
		if err := KillCgroup(FD(dir)); !errors.Is(err, unix.EBADF) {
			t.Errorf("KillCgroup(%d): got %v", dir, err)
		}
	}
	if strconv.IntSize == 64 {
		if _, err := Compile("/x", nil, &Attr{TimerSlack: 5 * time.Second}); err != nil {
			t.Error(err)
		}
	}
}
