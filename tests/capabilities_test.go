//go:build linux

package tests

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// A program that is root has no more capabilities than it was to be given: what
// execve would add to them is forbidden, or the start refused.
func TestCapabilitiesOfRoot(t *testing.T) {
	helper.SkipEmulated(t, "credentials of a thread")
	needCapability(t, someCap, "pass on")
	needCapability(t, unix.CAP_SETPCAP, "lower the bounding set")
	if os.Getuid() != 0 {
		t.Skip("not root")
	}
	few := func() *vspawn.Attr {
		return &vspawn.Attr{Capabilities: &vspawn.Capabilities{
			Permitted: vspawn.Caps(someCap), Effective: vspawn.Caps(someCap)}}
	}
	set := func(option, value uintptr) func() {
		return func() {
			if err := unix.Prctl(int(option), value, 0, 0, 0); err != nil {
				t.Error(err)
			}
		}
	}
	user := func(inside int) func(a *vspawn.Attr) {
		return func(a *vspawn.Attr) {
			a.Cloneflags, a.UIDMap = unix.CLONE_NEWUSER, []vspawn.IDMap{{Inside: inside, Size: 1}}
		}
	}
	for _, c := range []struct {
		name    string
		change  func(a *vspawn.Attr)
		inherit func() // on the thread that starts it
		refused bool
		want    string
	}{
		{name: "alone", refused: true},
		{name: "root by its UID", refused: true, change: func(a *vspawn.Attr) { a.UID = vspawn.Ptr(0) }},
		{name: "inheritable more", refused: true, change: func(a *vspawn.Attr) {
			a.Bounding, a.Capabilities.Inheritable = vspawn.Ptr(vspawn.Caps(someCap)), vspawn.Caps(otherCap)
		}},
		{name: "Bounding that is too much", refused: true, change: func(a *vspawn.Attr) { a.Bounding = vspawn.Ptr(vspawn.Caps(someCap, otherCap)) }},
		{name: "Bounding", change: func(a *vspawn.Attr) { a.Bounding = vspawn.Ptr(vspawn.Caps(someCap)) }, want: hexCaps(someCap)},
		{name: "NoNewPrivs", change: func(a *vspawn.Attr) { a.NoNewPrivs = true }, want: hexCaps(someCap)},
		{name: "Securebits", change: func(a *vspawn.Attr) { a.Securebits = vspawn.Ptr(secbitNoroot) }, want: hexCaps()},
		{name: "Securebits and Ambient", change: func(a *vspawn.Attr) {
			a.Securebits, a.Ambient, a.Capabilities.Inheritable = vspawn.Ptr(secbitNoroot), vspawn.Caps(someCap),
				vspawn.Caps(someCap)
		}, want: hexCaps(someCap)},
		{name: "no root any more", change: func(a *vspawn.Attr) { a.UID = vspawn.Ptr(1000) }, want: hexCaps()},
		{name: "root of a user namespace", refused: true, change: user(0)},
		{name: "another of a user namespace", change: user(1000), want: hexCaps()},
		{name: "no_new_privs is inherited", inherit: set(unix.PR_SET_NO_NEW_PRIVS, 1), want: hexCaps(someCap)},
		{name: "securebits are inherited", inherit: set(unix.PR_SET_SECUREBITS, secbitNoroot|secbitNorootLocked), want: hexCaps()},
		{name: "inherited securebits are changed", refused: true, inherit: set(unix.PR_SET_SECUREBITS, secbitNoroot),
			change: func(a *vspawn.Attr) { a.Securebits = vspawn.Ptr(0) }},
		{name: "inherited securebits, root of a user namespace", refused: true, inherit: set(unix.PR_SET_SECUREBITS, secbitNoroot), change: user(0)},
		{name: "the bounding set is inherited", inherit: func() { boundThread(t, someCap) }, want: hexCaps(someCap)},
		{name: "the bounding set is inherited, root of a user namespace", refused: true, inherit: func() { boundThread(t, someCap) }, change: user(0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			attr := few()
			if c.change != nil {
				c.change(attr)
			}
			if attr.Cloneflags != 0 {
				needUserNamespaces(t)
			}
			onThreadOfItsOwn(func() {
				if c.inherit != nil {
					c.inherit()
				}
				checkRoot(t, attr, c.refused, c.want)
			})
		})
	}
}

func checkRoot(t *testing.T, attr *vspawn.Attr, refused bool, want string) {
	plan, err := vspawn.Compile("/x", nil, attr)
	var e *vspawn.AttrError
	switch {
	case refused && (!errors.As(err, &e) || e.Field != "Capabilities"):
		t.Errorf("not refused: %v, %v", plan, err)
	case refused:
	case err != nil:
		t.Error(err)
	default:
		s := report(t, attr)
		equal(t, "permitted", s.Privileges.Permitted, want)
		equal(t, "effective", s.Privileges.Effective, want)
	}
}

// boundThread leaves one capability in the thread's bounding set.
func boundThread(t *testing.T, only int) {
	last, err := strconv.Atoi(words("/proc/sys/kernel/cap_last_cap"))
	if err != nil {
		t.Error(err)
	}
	for n := range last + 1 {
		if n != only {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil {
				t.Error(err)
			}
		}
	}
}

// onThreadOfItsOwn runs f on a thread that ends with it.
func onThreadOfItsOwn(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and not unlocked
		if unix.Gettid() == unix.Getpid() {
			onThreadOfItsOwn(f) // the main thread, which does not end, is taken now
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// What an entered user namespace makes of the parent's user is not known, and
// nothing refused for it; there the child has all capabilities to give on.
func TestCapabilitiesInEnteredUserNamespace(t *testing.T) {
	needUserNamespaces(t)
	needCapability(t, unix.CAP_SYS_ADMIN, "enter a namespace")
	p := waiting(t, &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER,
		UIDMap: []vspawn.IDMap{{Inside: 1000, Outside: os.Getuid(), Size: 1}}})
	fd := openFile(t, "/proc/"+strconv.Itoa(p.Pid())+"/ns/user")
	some := vspawn.Caps(someCap)
	for _, set := range []*vspawn.Capabilities{nil, {Permitted: some, Inheritable: some}} {
		s := report(t, &vspawn.Attr{Setns: []vspawn.Namespace{{FD: vspawn.FD(fd)}}, Ambient: some, Capabilities: set})
		equal(t, "user", s.UID, [3]int{1000, 1000, 1000})
		equal(t, "effective", s.Privileges.Effective, hexCaps(someCap))
		equal(t, "permitted", s.Privileges.Permitted, hexCaps(someCap))
	}
}
