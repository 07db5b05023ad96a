//go:build linux

package tests

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// dyingKinds are children that wait for their parent on their way, or that it is
// to stop.
var dyingKinds = map[string]vspawn.Attr{
	"id maps":             {Cloneflags: unix.CLONE_NEWUSER, UIDMap: ownID(os.Getuid()), GIDMap: ownID(os.Getgid())},
	"id maps, PID":        {Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, UIDMap: ownID(os.Getuid())},
	"id maps, stopped":    {Cloneflags: unix.CLONE_NEWUSER, UIDMap: ownID(os.Getuid()), StartStopped: true},
	"stopped":             {StartStopped: true},
	"stopped, PID":        {Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, StartStopped: true},
	"traced":              {Ptrace: true},
	"traced, PID":         {Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, Ptrace: true},
	"traced, Pdeathsig":   {Ptrace: true, Pdeathsig: unix.SIGKILL},
	"Pdeathsig":           {Pdeathsig: unix.SIGKILL},
	"Pdeathsig, PID":      {Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL},
	"Pdeathsig, stopped":  {Pdeathsig: unix.SIGKILL, StartStopped: true},
	"dies":                {DieWithParent: true},
	"dies, no new privs":  {DieWithParent: true, NoNewPrivs: true},
	"dies, stopped":       {DieWithParent: true, StartStopped: true},
	"dies, PID":           {Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWPID, DieWithParent: true, NoNewPrivs: true},
	"dies, with maps":     {Cloneflags: unix.CLONE_NEWUSER, UIDMap: ownID(os.Getuid()), DieWithParent: true, NoNewPrivs: true},
	"Pdeathsig with maps": {Cloneflags: unix.CLONE_NEWUSER, UIDMap: ownID(os.Getuid()), Pdeathsig: unix.SIGKILL},
}

func ownID(id int) []vspawn.IDMap { return []vspawn.IDMap{{Inside: 0, Outside: id, Size: 1}} }

// A parent that is killed while a child waits for its id maps leaves no orphan:
// the child ends, unless it is the program already. It would hold the parent's
// memory and descriptors for ever.
func TestParentDiesBeforeMaps(t *testing.T) {
	needUserNamespaces(t)
	for _, kind := range []string{"id maps", "id maps, PID", "id maps, stopped", "Pdeathsig with maps", "dies, with maps"} {
		t.Run(kind, func(t *testing.T) { killParents(t, kind) })
	}
}

// Nor does one that is killed while a child is traced, or asks for a signal at
// its parent's death. With Pdeathsig and DieWithParent the programs end, too.
func TestParentDiesBeforeExec(t *testing.T) {
	for _, kind := range []string{"stopped", "traced", "traced, Pdeathsig", "Pdeathsig", "Pdeathsig, stopped",
		"dies", "dies, no new privs", "dies, stopped"} {
		t.Run(kind, func(t *testing.T) { killParents(t, kind) })
	}
	for _, kind := range []string{"stopped, PID", "traced, PID", "Pdeathsig, PID", "dies, PID"} {
		t.Run(kind, func(t *testing.T) {
			needUserNamespaces(t)
			killParents(t, kind)
		})
	}
}

// A child whose parent dies just before it waits, is traced, or has asked for the
// signal, ends by itself.
func TestParentDiesJustBefore(t *testing.T) {
	helper.SkipEmulated(t, "subreaper")
	for kind, attr := range dyingKinds {
		for _, place := range []string{"UIDMap", "Pdeathsig", "Ptrace"} {
			needed := map[string]bool{"UIDMap": attr.UIDMap != nil,
				"Pdeathsig": attr.Pdeathsig != 0 || attr.DieWithParent, "Ptrace": attr.Ptrace || attr.StartStopped}
			if !needed[place] {
				continue
			}
			t.Run(kind+" before "+place, func(t *testing.T) {
				if attr.Cloneflags != 0 {
					needUserNamespaces(t)
				}
				killParentAt(t, kind, place)
			})
		}
	}
}

// killParentAt kills a process whose child is at a place among its steps, and
// waits until the child has ended.
func killParentAt(t *testing.T, kind, place string) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	hereR, hereW := blockingPipe(t)
	openR, openW := blockingPipe(t)
	cmd := heldHelper.Command(kind, place, tiny.Sleep(t))
	cmd.Path = program(cmd.Args)
	cmd.ExtraFiles = []*os.File{hereW, openR}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hereW.Close()
	if _, err := hereR.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := openW.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if programs := endOrphans(t, true); programs > 0 {
		t.Error("it has become the program")
	}
}

// heldHelper starts a child that is held up, and is killed meanwhile.
var heldHelper = helper.New("held", func(args []string) int {
	attr := dyingKinds[args[0]]
	buffer := asmtest.Addr(&heldBuffer)
	attr.Syscalls = []vspawn.Syscall{
		{Before: args[1], Name: "write", Nr: unix.SYS_WRITE, Args: [6]uintptr{3, buffer, 1}},
		{Before: args[1], Name: "read", Nr: unix.SYS_READ, Args: [6]uintptr{4, buffer, 1}},
	}
	_, err := vspawn.Start(noContext, args[2], nil, &attr)
	fmt.Fprintln(os.Stderr, "it was started:", err)
	return 1
})

var heldBuffer [1]byte

// killParents kills processes that start children of a kind, at any moment, and
// waits until no child is left that is not the program.
func killParents(t *testing.T, kind string) {
	helper.SkipEmulated(t, "subreaper")
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	path := tiny.Sleep(t)
	programs := 0
	for range helper.Rounds(30) {
		cmd := dyingHelper.Command(kind, path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		time.Sleep(rand.N(5 * time.Millisecond))
		cmd.Process.Kill()
		cmd.Wait()
		programs += endOrphans(t, dyingKinds[kind].Pdeathsig == 0 && !dyingKinds[kind].DieWithParent)
		if t.Failed() {
			break
		}
	}
	t.Logf("%d orphans were the program already", programs)
}

// crashes are the signals of a process that has made a mistake.
var crashes = []syscall.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGSYS}

// endOrphans waits for all children of this process, and kills those that are
// the program, if they do not have to end by themselves.
func endOrphans(t *testing.T, kill bool) (programs int) {
	t.Helper()
	killed := map[int]bool{}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG|unix.WALL, nil)
		if err == unix.ECHILD {
			return len(killed)
		}
		if pid > 0 {
			if ws.Signaled() && slices.Contains(crashes, ws.Signal()) {
				t.Errorf("orphan %d crashed: %v", pid, ws.Signal())
			}
			continue
		}
		late := time.Now().After(end)
		for _, orphan := range children(t, os.Getpid()) {
			name := even(text("/proc/" + strconv.Itoa(orphan) + "/comm"))
			if late {
				pid := strconv.Itoa(orphan)
				t.Errorf("orphan %d, %q, is left: %s, traced by %s, signals %s, in %s at %s", orphan, name, statusField(pid, "State"),
					statusField(pid, "TracerPid"), statusField(pid, "ShdPnd"), text("/proc/"+pid+"/syscall"), text("/proc/"+pid+"/stack"))
			}
			if late || kill && name == "sleep" {
				unix.Kill(orphan, unix.SIGKILL)
				killed[orphan] = true
			}
		}
	}
}

// dyingHelper starts children until it is killed.
var dyingHelper = helper.New("dying", func(args []string) int {
	failed := make(chan error)
	for range 3 {
		go func() {
			attr := dyingKinds[args[0]]
			if attr.Ptrace {
				runtime.LockOSThread()
			}
			for {
				p, err := vspawn.Start(noContext, args[1], nil, &attr)
				if err != nil {
					failed <- err
				}
				os.Stdout.WriteString("x")
				p.Kill()
				p.Wait(noContext)
			}
		}()
	}
	fmt.Fprintln(os.Stderr, <-failed)
	return 1
})
