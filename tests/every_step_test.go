//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// places are those in the order of a child's steps, before which a Syscall can be.
var places = []string{"Cgroup", "Cloneflags", "UIDMap", "DefaultSignals", "Setsid", "Pgid", "TTY", "Scheduler", "Nice", "IOPriority",
	"Affinity", "CoreSched", "TimerSlack", "OOMScoreAdj", "Personality", "NewKeyring", "Setns", "Unshareflags", "Hostname", "Mounts",
	"PivotRoot", "Chroot", "Umask", "Files", "Rlimits", "Bounding", "Securebits", "KeepCaps", "Groups", "GID", "UID", "Dir",
	"Files.Path", "NoNewPrivs", "Landlock", "Capabilities", "Pdeathsig", "Ptrace", "Rlimits.NOFILE", "OOMScoreAdj.Raised",
	"SignalMask", "Seccomp"}

// No place is missing from the list.
func TestPlacesAreAll(t *testing.T) {
	isPlace := func(name string) bool {
		_, err := vspawn.Compile("/x", nil, &vspawn.Attr{Syscalls: []vspawn.Syscall{{Before: name, Nr: unix.SYS_GETPID}}})
		return err == nil
	}
	for _, name := range places {
		if !isPlace(name) {
			t.Errorf("%s is no place", name)
		}
	}
	fields := reflect.TypeFor[vspawn.Attr]()
	for i := range fields.NumField() {
		if name := fields.Field(i).Name; isPlace(name) && !slices.Contains(places, name) {
			t.Errorf("%s is a place, too", name)
		}
	}
}

// A stepKind is a child with as many steps as it can have.
type stepKind struct {
	name   string
	root   bool
	change func(a *vspawn.Attr)
}

// stepKinds are the ways in which a child may depend on its parent.
var stepKinds = []stepKind{
	{"plain", false, func(*vspawn.Attr) {}},
	{"parent-death signal", false, func(a *vspawn.Attr) { a.Pdeathsig = unix.SIGKILL }},
	{"death with the parent", false, func(a *vspawn.Attr) { a.DieWithParent = true }},
	{"stopped", false, func(a *vspawn.Attr) { a.StartStopped = true }},
	{"traced", false, func(a *vspawn.Attr) { a.Ptrace = true }},
	{"another user", true, rootSteps},
	{"another user with a parent-death signal", true, func(a *vspawn.Attr) {
		rootSteps(a)
		a.Pdeathsig = unix.SIGKILL
	}},
	{"another user, stopped", true, func(a *vspawn.Attr) {
		rootSteps(a)
		a.StartStopped = true
	}},
	{"id maps", false, func(a *vspawn.Attr) { mapSteps(a) }},
	{"id maps and a parent-death signal in a PID namespace", false, func(a *vspawn.Attr) {
		mapSteps(a)
		a.Cloneflags |= unix.CLONE_NEWPID
		a.Pdeathsig = unix.SIGKILL
	}},
}

func rootSteps(a *vspawn.Attr) {
	a.Cloneflags = unix.CLONE_NEWUTS | unix.CLONE_NEWNS
	a.Hostname, a.PrivateMounts, a.Unshareflags = "box", true, unix.CLONE_NEWIPC
	a.Chroot, a.OOMScoreAdj = "/", vspawn.Ptr(500)
	a.Bounding, a.Securebits, a.KeepCaps = vspawn.Ptr(vspawn.Caps()), vspawn.Ptr(0), true
	a.UID, a.GID, a.Groups = vspawn.Ptr(nobody), vspawn.Ptr(nobody), []int{4, 5}
}

func mapSteps(a *vspawn.Attr) {
	a.Cloneflags = unix.CLONE_NEWUSER
	a.UIDMap, a.GIDMap = ownID(os.Getuid()), ownID(os.Getgid())
}

// attr is what the child is given.
func (k *stepKind) attr() *vspawn.Attr {
	a := &vspawn.Attr{
		Dir: "/", Setsid: true, Umask: vspawn.Ptr(0o77), Nice: vspawn.Ptr(19), IOPriority: &vspawn.IOPriority{Class: 2, Level: 7},
		Scheduler: &vspawn.Scheduler{Policy: unix.SCHED_BATCH}, Affinity: []int{0, 1, 2, 3, 4, 5, 6, 7}, TimerSlack: time.Millisecond,
		Personality: vspawn.Ptr[uintptr](0), Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_CORE}, {Resource: unix.RLIMIT_NOFILE, Soft: 64, Hard: 64}},
		Files:      []vspawn.File{{Child: 0, Path: os.DevNull}, {Child: 1, Parent: vspawn.FD(2)}, {Child: 2, Parent: vspawn.FD(1)}},
		SignalMask: []syscall.Signal{unix.SIGUSR1}, DefaultSignals: []syscall.Signal{unix.SIGHUP}, IgnoreSignals: []syscall.Signal{unix.SIGINT},
		NoNewPrivs: true, Seccomp: deny(unix.SYS_GETSID, errFilter),
	}
	k.change(a)
	return a
}

// need skips a kind that can't be had here.
func (k *stepKind) need(t *testing.T) {
	t.Helper()
	switch a := k.attr(); {
	case k.root:
		needCapability(t, unix.CAP_SYS_ADMIN, "make namespaces")
		needCapability(t, unix.CAP_SETUID, "become another")
	case a.Cloneflags&unix.CLONE_NEWUSER != 0:
		needUserNamespaces(t)
	}
}

// A child that is killed before any of its steps is one that was killed: its start does
// not hang, nothing is left of it, and its state tells.
func TestKilledAtEveryStep(t *testing.T) {
	once(t)
	helper.SkipEmulated(t, "memory shared by vfork, nor ptrace")
	path := tiny.Exit(t, 3)
	for _, k := range stepKinds {
		leavesNothing(t, k.name, func(t *testing.T) {
			k.need(t)
			if !k.attr().DieWithParent { // see TestDieWithParentOfLockedThread
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
			}
			for _, place := range places {
				g := newGate(t, place)
				attr := k.attr()
				attr.Syscalls = g.Calls
				var others sync.WaitGroup
				others.Go(func() {
					defer g.letPass(t)
					signalAtGate(t, g, unix.SIGKILL)
				})
				p, err := vspawn.Start(t.Context(), path, nil, attr)
				g.over()
				others.Wait()
				switch {
				case err == nil:
					wait(t, p, "signal: killed")
				case !attr.StartStopped || !errors.Is(err, unix.ESRCH): // there is nothing to be stopped
					t.Errorf("before %s: %v", place, err)
				}
			}
		})
	}
}

// A parent that is killed before any of its child's steps leaves no child that is not the
// program: it goes on to its exec, or, if it depends on its parent, ends.
func TestParentDiesAtEveryStep(t *testing.T) {
	once(t)
	helper.SkipEmulated(t, "subreaper")
	for i, k := range stepKinds {
		t.Run(k.name, func(t *testing.T) {
			k.need(t)
			if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
				t.Fatal(err)
			}
			defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
			hereR, hereW := blockingPipe(t)
			openR, openW := blockingPipe(t)
			cmd := everywhereHelper.Command(fmt.Sprint(i), tiny.Sleep(t))
			cmd.Path = program(cmd.Args)
			cmd.ExtraFiles = []*os.File{hereW, openR}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			hereW.Close()
			openR.Close()
			for n := range places {
				if _, err := hereR.Read(make([]byte, 1)); err != nil {
					t.Errorf("%d children are there of %d: %v", n, len(places), err)
					break
				}
			}
			cmd.Process.Kill()
			cmd.Wait()
			openW.Close() // which lets all of them go on
			attr := k.attr()
			bound := attr.Pdeathsig != 0 || attr.DieWithParent
			alone := !bound && !attr.StartStopped && !attr.Ptrace && attr.UIDMap == nil
			programs := endOrphans(t, !bound)
			t.Logf("of %d orphans %d have become the program", len(places), programs)
			if alone && programs != len(places) || !alone && programs == len(places) {
				t.Errorf("%d of %d children have become the program", programs, len(places))
			}
		})
	}
}

// everywhereHelper starts children of a kind that are held up, one before each step,
// and is killed meanwhile.
var everywhereHelper = helper.New("everywhere", func(args []string) int {
	var i int
	fmt.Sscan(args[0], &i)
	buffer := asmtest.Addr(&heldBuffer)
	failed := make(chan error)
	for _, place := range places {
		attr := stepKinds[i].attr()
		attr.Syscalls = []vspawn.Syscall{
			{Before: place, Name: "write", Nr: unix.SYS_WRITE, Args: [6]uintptr{3, buffer, 1}},
			{Before: place, Name: "read", Nr: unix.SYS_READ, Args: [6]uintptr{4, buffer, 1}},
		}
		go func() {
			if !attr.DieWithParent {
				runtime.LockOSThread()
			}
			_, err := vspawn.Start(noContext, args[1], nil, attr)
			failed <- fmt.Errorf("before %s it was started: %w", place, err)
		}()
	}
	fmt.Fprintln(os.Stderr, <-failed)
	return 1
})
