//go:build linux

package tests

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// Parent and child agree on who is who, whichever thread of the parent has
// started the child. To a second thread of the child the same holds.
func TestPids(t *testing.T) {
	onSecondThread(func() {
		s, err := reportGo(t, &vspawn.Attr{}, func(p *vspawn.Process) {
			equal(t, "parent, as /proc tells", stat(strconv.Itoa(p.Pid())).ppid, os.Getpid())
			if all := children(t, os.Getpid()); !slices.Contains(all, p.Pid()) {
				t.Errorf("the children of %d are %v, as /proc tells, and not %d", os.Getpid(), all, p.Pid())
			}
		})
		if err != nil {
			t.Error(err)
			return
		}
		equal(t, "parent's thread group", statusField("self", "Tgid"), strconv.Itoa(os.Getpid()))
		equal(t, "child's parent", s.Ppid, os.Getpid())
		equal(t, "child's thread group", s.Tgid, s.Pid)
		equal(t, "child's main thread", s.Tid, s.Pid)
		equal(t, "second thread's process", s.Second.Pid, s.Pid)
		equal(t, "second thread's parent", s.Second.Ppid, s.Ppid)
		if s.Second.Tid == s.Pid || !slices.Contains(s.Tasks, s.Second.Tid) || !slices.Contains(s.Tasks, s.Pid) {
			t.Errorf("the child has the threads %v, a second thread is %d", s.Tasks, s.Second.Tid)
		}
	})
}

// onSecondThread runs f on a thread that is not the main one.
func onSecondThread(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() { // the main thread being ours, it gets another
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		f()
	}()
	<-done
}

// A child's child, and so on, is where it belongs in the tree.
func TestTree(t *testing.T) {
	inR, inW := blockingPipe(t)
	outR, outW := blockingPipe(t)
	p, err := start(t, treeHelper.Argv("2"), &vspawn.Attr{Files: []vspawn.File{
		{Child: 0, Parent: inR}, {Child: 1, Parent: outW}, {Child: 2, Parent: vspawn.FD(2)}}})
	if err != nil {
		t.Fatal(err)
	}
	outW.Close()
	if _, err := outR.Read(make([]byte, 1)); err != nil { // the last of them is there
		t.Error(err)
	}
	pid := p.Pid()
	for level := range 3 {
		pids := children(t, pid)
		if level == 2 {
			equal(t, "children of the last", len(pids), 0)
			break
		}
		if len(pids) != 1 {
			t.Fatalf("the child at level %d has the children %v, want one", level, pids)
		}
		pid = pids[0]
	}
	inW.Close()
	wait(t, p, "exit status 0")
}

// treeHelper has as many generations below it as its argument says. The last
// says so, and all end with the standard input.
var treeHelper *helper.Helper

func init() {
	treeHelper = helper.New("tree", func(args []string) int {
		n, err := strconv.Atoi(args[0])
		if err != nil {
			panic(err)
		}
		if n == 0 {
			os.Stdout.WriteString("x")
			io.Copy(io.Discard, os.Stdin)
			return 0
		}
		argv := treeHelper.Argv(strconv.Itoa(n - 1))
		return relay(vspawn.Start(noContext, program(argv), argv, nil))
	})
}

// KillCgroup kills all that is in a cgroup, and nothing else.
func TestKillCgroup(t *testing.T) {
	dir, _ := cgroup(t)
	if err := vspawn.KillCgroup(dir); errors.Is(err, unix.ENOENT) && !newEnough(5, 14) {
		t.Skip("the kernel has no cgroup.kill (Linux 5.14): ", err)
	}
	other := waiting(t, &vspawn.Attr{})
	var members []*vspawn.Process
	for range 2 {
		members = append(members, waiting(t, &vspawn.Attr{Cgroup: dir}))
	}
	if err := vspawn.KillCgroup(dir); err != nil {
		t.Fatal(err)
	}
	for _, p := range members {
		wait(t, p, "signal: killed")
	}
	if s, err := other.Poll(); s != nil || err != nil {
		t.Errorf("another child: %v, %v", s, err)
	}
	r, _ := blockingPipe(t)
	var e *vspawn.Error
	if err := vspawn.KillCgroup(r); !errors.As(err, &e) || e.Step != "openat" || e.Object != "cgroup.kill" {
		t.Errorf("of a pipe: %v", err)
	}
}

// killed is a child that has sent itself a signal.
func killed(t *testing.T, sig unix.Signal, attr *vspawn.Attr) *vspawn.Process {
	t.Helper()
	puppet := tiny.New(t)
	argv := tiny.Argv(t)
	p, err := vspawn.Start(t.Context(), argv[0], argv, withFile(attr, tiny.FD, puppet.Child))
	if err != nil {
		t.Fatal(err)
	}
	if err := puppet.Do(&tiny.Call{Nr: unix.SYS_KILL, Args: []any{p.Pid(), int(sig)}}); err == nil {
		t.Error("the child has survived")
	}
	return p
}

// An orphan is adopted by a subreaper, or by PID 1 of its namespace, who reaps
// it.
func TestOrphan(t *testing.T) {
	for _, c := range []struct {
		adopter string
		attr    vspawn.Attr
	}{
		{"subreaper", vspawn.Attr{}},
		{"PID 1", vspawn.Attr{Cloneflags: unix.CLONE_NEWPID}},
	} {
		t.Run(c.adopter, func(t *testing.T) {
			if c.attr.Cloneflags != 0 {
				needCapability(t, unix.CAP_SYS_ADMIN, "make a PID namespace")
			}
			helper.SkipEmulated(t, "subreaper, and no namespaces")
			p, err := start(t, orphanHelper.Argv(c.adopter), &c.attr)
			if err != nil {
				t.Fatal(err)
			}
			wait(t, p, "exit status 0")
		})
	}
}

// orphanHelper is one who adopts, or a child of his that leaves its own, or
// the orphan.
var orphanHelper *helper.Helper

func init() {
	orphanHelper = helper.New("orphan", func(args []string) int {
		switch args[0] {
		case "subreaper":
			if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
				panic(err)
			}
			return adopt()
		case "PID 1":
			return adopt()
		case "leaver":
			argv := orphanHelper.Argv("orphan")
			if _, err := vspawn.Start(noContext, program(argv), argv, nil); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return 0
		default: // says, at the end of its input, whose child it is
			io.Copy(io.Discard, os.Stdin)
			fmt.Printf("%d, child of %d", os.Getpid(), os.Getppid())
			return 0
		}
	})
}

func adopt() int {
	in, hold, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	argv := orphanHelper.Argv("leaver")
	if code := relay(vspawn.Start(noContext, program(argv), argv, &vspawn.Attr{
		Files: []vspawn.File{{Child: 0, Parent: in}, {Child: 1, Parent: w}, {Child: 2, Parent: vspawn.FD(2)}}})); code != 0 {
		return code
	}
	w.Close()
	hold.Close() // the orphan goes on
	said, _ := io.ReadAll(out)
	var ws unix.WaitStatus
	pid, err := unix.Wait4(-1, &ws, 0, nil)
	want := fmt.Sprintf("%d, child of %d", pid, os.Getpid())
	if string(said) != want || err != nil || ws != 0 {
		fmt.Fprintf(os.Stderr, "the orphan says %q, want %q; wait: %v, %#x\n", said, want, err, ws)
		return 1
	}
	if _, err := unix.Wait4(-1, &ws, 0, nil); err != unix.ECHILD {
		fmt.Fprintln(os.Stderr, "there is another child:", err)
		return 1
	}
	return 0
}

// Foreground gives the caller's own terminal to a child in a new group, though
// the caller is then in the background (TIOCSPGRP sends it SIGTTOU).
func TestForeground(t *testing.T) {
	tty := terminal(t)
	r, w := blockingPipe(t)
	p, err := start(t, sessionHelper.Argv(), &vspawn.Attr{
		Setsid: true, TTY: vspawn.FD(tty), ControllingTTY: true,
		Files: []vspawn.File{{Child: 0, Parent: vspawn.FD(tty)}, {Child: 2, Parent: vspawn.FD(2)}, {Child: reportFD, Parent: w}}})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	s := readReport(t, p, r)
	equal(t, "session", s.Sid, p.Pid())
	equal(t, "process group", s.Pgid, s.Pid)
	equal(t, "foreground group", s.Foreground, s.Pid)
}

// sessionHelper has a terminal, which it gives to its child.
var sessionHelper = helper.New("session", func([]string) int {
	files := []vspawn.File{{Child: 0, Parent: vspawn.FD(0)}, {Child: 2, Parent: vspawn.FD(2)},
		{Child: reportFD, Parent: vspawn.FD(reportFD)}}
	argv := reportHelper.Argv()
	return relay(vspawn.Start(noContext, program(argv), argv, &vspawn.Attr{
		Pgid: vspawn.Ptr(0), TTY: vspawn.FD(0), Foreground: true, Files: files}))
})
