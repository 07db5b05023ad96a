//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// What Hostname, Mounts and PivotRoot would change is never the parent's,
// whatever Setns enters: the start is refused, and the parent's host name and
// mounts are as before.
func TestGuardedBySetns(t *testing.T) { runApart(t, "the process") }

// Nor is it a thread's that has namespaces of its own, nor, from such a thread,
// the process's.
func TestGuardedOnAnotherThread(t *testing.T) { runApart(t, "a thread") }

func runApart(t *testing.T, whose string) {
	apartHelper.Argv() // also where this is skipped
	waitHelper.Argv()  // which apartHelper uses
	needCapability(t, unix.CAP_SYS_ADMIN, "make namespaces")
	helper.SkipEmulated(t, "namespaces")
	// In namespaces of its own, so that it does no harm when a guard is missing.
	p, err := start(t, apartHelper.Argv(whose),
		&vspawn.Attr{Cloneflags: unix.CLONE_NEWUTS | unix.CLONE_NEWNS | unix.CLONE_NEWNET})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

var apartHelper = helper.New("apart", func(args []string) int {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	defer w.Close()
	argv := waitHelper.Argv()
	other, err := vspawn.Start(noContext, program(argv), argv, &vspawn.Attr{Cloneflags: unix.CLONE_NEWUTS | unix.CLONE_NEWNS,
		Files: []vspawn.File{{Child: 0, Parent: r}, {Child: 2, Parent: vspawn.FD(2)}}})
	if err != nil {
		panic(err)
	}
	defer func() { other.Kill(); reap(other) }()
	for _, with := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} { // with nobody, first
		if err := unix.Mount("", "/", "", unix.MS_REC|with, ""); err != nil {
			panic(err)
		}
	}
	if args[0] == "the process" {
		return apartFrom(unix.Getpid(), unix.Getpid(), other.Pid())
	}
	runtime.LockOSThread() // for good, as it is made another's
	if unix.Gettid() != unix.Getpid() {
		return apartThread(other.Pid())
	}
	status := make(chan int)
	go func() { // which gets another than the main thread
		runtime.LockOSThread()
		status <- apartThread(other.Pid())
	}()
	return <-status
})

// apartThread is apartFrom on a thread with namespaces of its own.
func apartThread(apart int) int {
	if err := unix.Unshare(unix.CLONE_NEWUTS | unix.CLONE_NEWNS); err != nil {
		panic(err)
	}
	return apartFrom(unix.Gettid(), unix.Getpid(), apart)
}

// apartFrom tries what must be refused, and some that must not, on a thread.
// apart is in other namespaces than own and process, which may be the same.
func apartFrom(own, process, apart int) int {
	open := func(pid int, kind string) int {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		return fd
	}
	pidfd := func(pid int) int {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return -1
		}
		return fd
	}
	const uts, mnt = unix.CLONE_NEWUTS, unix.CLONE_NEWNS
	type list = []vspawn.Namespace
	entries := []struct {
		name    string
		setns   list
		clone   uintptr
		unshare uintptr
		refused string // the field, beside Hostname and then beside mounts; "" is not
	}{
		{"a network", list{{FD: vspawn.FD(open(apart, "net"))}}, 0, 0, "itself"},
		{"its own", list{{FD: vspawn.FD(open(own, "uts"))}, {FD: vspawn.FD(open(own, "mnt"))}}, 0, 0, "Setns"},
		{"its own, with flags", list{{FD: vspawn.FD(open(own, "uts")), Flags: uts}, {FD: vspawn.FD(open(own, "mnt")), Flags: mnt}}, 0, 0, "Setns"},
		{"the process's", list{{FD: vspawn.FD(open(process, "uts"))}, {FD: vspawn.FD(open(process, "mnt"))}}, 0, 0, "Setns"},
		{"its own, from new ones", list{{FD: vspawn.FD(open(own, "uts"))}, {FD: vspawn.FD(open(own, "mnt"))}}, uts | mnt, 0, "Setns"},
		{"its own, from others", list{{FD: vspawn.FD(open(apart, "uts"))}, {FD: vspawn.FD(open(apart, "mnt"))}, {FD: vspawn.FD(open(own, "uts"))}, {FD: vspawn.FD(open(own, "mnt"))}}, 0, 0, "Setns"},
		{"the process's by its pid", list{{Pid: process, Flags: uts | mnt}}, 0, 0, "Setns"},
		{"the process's by its pidfd", list{{FD: vspawn.FD(pidfd(process)), Flags: uts | mnt}}, 0, 0, "Setns"},
		{"others", list{{FD: vspawn.FD(open(apart, "uts"))}, {FD: vspawn.FD(open(apart, "mnt"))}}, 0, 0, ""},
		{"others by pid", list{{Pid: apart, Flags: uts | mnt}}, 0, 0, ""},
		{"others by pidfd", list{{FD: vspawn.FD(pidfd(apart)), Flags: uts | mnt}}, 0, 0, ""},
		{"others, from its own", list{{FD: vspawn.FD(open(own, "uts"))}, {FD: vspawn.FD(open(own, "mnt"))}, {FD: vspawn.FD(open(apart, "uts"))}, {FD: vspawn.FD(open(apart, "mnt"))}}, 0, 0, ""},
		{"new ones, from its own", list{{FD: vspawn.FD(open(own, "uts"))}, {FD: vspawn.FD(open(own, "mnt"))}}, 0, uts | mnt, ""},
	}
	w := &apartWatch{own: own, before: ownNames(own)}
	changes := map[string]vspawn.Attr{"Hostname": {Hostname: "changed"}, "PrivateMounts": {PrivateMounts: true},
		"Mounts": {Mounts: []vspawn.Mount{{Target: "/", Flags: unix.MS_SHARED}}}, "PivotRoot": {PivotRoot: "/no/such/root"}}
	for _, e := range entries {
		byPid := e.setns[0].Pid != 0 || e.setns[0].Flags == uts|mnt
		if byPid && !newEnough(5, 8) {
			continue // setns takes no pidfd
		}
		for field, attr := range changes {
			attr.Setns, attr.Cloneflags, attr.Unshareflags = e.setns, e.clone, e.unshare
			_, err := vspawn.Start(noContext, "/no/such/program", nil, &attr)
			w.check(e.name+", "+field, err, field, e.refused)
		}
	}
	w.replaced(open(apart, "uts"), open(own, "uts"), open(apart, "net"))
	return w.status
}

// apartWatch looks for what has changed.
type apartWatch struct {
	own    int
	before [2]string
	status int
}

// ownNames are the host name of the calling thread, and how its root is mounted.
func ownNames(tid int) [2]string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		panic(err)
	}
	return [2]string{unix.ByteSliceToString(u.Nodename[:]), text(fmt.Sprintf("/proc/%d/mountinfo", tid))}
}

func (w *apartWatch) check(name string, err error, field, want string) {
	var refused *vspawn.AttrError
	var failed *vspawn.Error
	good := false
	switch {
	case errors.As(err, &refused):
		good = want == "itself" && refused.Field == field
	case errors.As(err, &failed) && want == "Setns":
		good = strings.HasPrefix(failed.Field, "Setns[") && strings.Contains(failed.Error(), "the parent's own, which "+field)
	case errors.As(err, &failed): // it came to where it may fail
		good = want == "" && (failed.Step == "execve" || field == "PivotRoot" && failed.Field == field)
	}
	if !good {
		fmt.Fprintf(os.Stderr, "%s: %v, to be refused: %q\n", name, err, want)
		w.status = 1
	}
	if now := ownNames(w.own); now != w.before {
		fmt.Fprintf(os.Stderr, "%s: the parent's host name and mounts were %q, and are %q\n", name, w.before, now)
		w.before, w.status = now, 1
	}
}

// replaced has a descriptor be another file by the time that the plan starts.
func (w *apartWatch) replaced(fd, own, other int) {
	attr := &vspawn.Attr{Setns: []vspawn.Namespace{{FD: vspawn.FD(fd)}}, Hostname: "changed"}
	plan, err := vspawn.Compile("/no/such/program", nil, attr)
	if err != nil {
		panic(err)
	}
	start := func(name, want string, by int) {
		if err := unix.Dup3(by, fd, unix.O_CLOEXEC); err != nil {
			panic(err)
		}
		_, err := plan.Start(noContext)
		w.check(name, err, "Hostname", want)
	}
	start("replaced by its own", "Setns", own)
	if err := unix.Dup3(other, fd, unix.O_CLOEXEC); err != nil {
		panic(err)
	}
	if _, err := plan.Start(noContext); !errors.Is(err, unix.EINVAL) { // the kernel's: it is of another kind
		fmt.Fprintf(os.Stderr, "replaced by another kind: %v\n", err)
		w.status = 1
	}
}
