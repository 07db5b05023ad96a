//go:build linux

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// A parent whom the kernel does not kill when memory runs out lives when it does
// in the cgroup of a child on its way to its exec, though memory.oom.group has
// the kernel kill all in it, and all who share their memory. The control shows
// that it does: behind the step that raises the child's oom_score_adj the parent
// dies with it. Without memory.oom.group any parent lives, since the kernel does
// not choose a child of vfork. It may choose one that is to be traced, which is
// not: whom it chooses then can't be foretold.
func TestOutOfMemoryInCgroup(t *testing.T) {
	outOfMemoryHelper.Argv() // also where this is skipped
	waitHelper.Argv()        // which outOfMemoryHelper uses
	needCapability(t, unix.CAP_SYS_RESOURCE, "lower oom_score_adj")
	helper.SkipEmulated(t, "memory shared with a child")
	for _, c := range []struct {
		before  string
		group   string
		score   int // of the parent
		want    string
		stopped bool
	}{
		{"Personality", "1", -1000, "exit status 0", false},
		{"UID", "1", -1000, "exit status 0", false},
		{"Pdeathsig", "1", -1000, "exit status 0", false},
		{"OOMScoreAdj.Raised", "1", -1000, "exit status 0", false},
		{"SignalMask", "1", -1000, "signal: killed", false},
		{"UID", "0", 0, "exit status 0", false},
		{"SignalMask", "0", 0, "exit status 0", false},
		{"UID", "1", -1000, "exit status 0", true},
	} {
		t.Run(fmt.Sprintf("before %s, group %s, %d, stopped %t", c.before, c.group, c.score, c.stopped), func(t *testing.T) {
			dir := memoryCgroup(t, c.group)
			p, err := start(t, outOfMemoryHelper.Argv(dir, c.before, fmt.Sprint(c.stopped)), &vspawn.Attr{OOMScoreAdj: &c.score})
			if err != nil {
				t.Fatal(err)
			}
			wait(t, p, c.want)
		})
	}
}

// memoryCgroup makes a cgroup in which all are killed together, or not. It is
// empty again before it is removed.
func memoryCgroup(t *testing.T, group string) (path string) {
	t.Helper()
	dir, _ := cgroup(t)
	path = dir.Name()
	root := filepath.Dir(path)
	if !slices.Contains(strings.Fields(text(root+"/cgroup.controllers")), "memory") {
		t.Skip("the cgroup2 file system has no memory controller: the kernel lacks it, or version 1 has it")
	}
	if err := os.WriteFile(root+"/cgroup.subtree_control", []byte("+memory"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"/memory.oom.group", []byte(group), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for end := time.Now().Add(time.Minute); !strings.Contains(text(path+"/cgroup.events"), "populated 0"); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("still in the cgroup: %s", words(path+"/cgroup.procs"))
				return
			}
		}
	})
	return path
}

// outOfMemoryHelper has memory run out in the cgroup of its child, when that has come
// to a place on its way to exec.
var outOfMemoryHelper = helper.New("out of memory", func(args []string) int {
	dir, before := args[0], args[1]
	cgroup, err := os.Open(dir)
	if err != nil {
		panic(err)
	}
	stay, hold := rawPipe() // both children run until this one ends
	hereR, hereW := rawPipe()
	goR, goW := rawPipe()
	argv := waitHelper.Argv()
	attr := vspawn.Attr{Cgroup: cgroup, OOMScoreAdj: vspawn.Ptr(0),
		Files: []vspawn.File{{Child: 0, Parent: stay}, {Child: 2, Parent: vspawn.FD(2)}}}
	victim, err := vspawn.Start(noContext, program(argv), argv, &attr)
	if err != nil {
		panic(err)
	}
	attr.UID, attr.OOMScoreAdj, attr.StartStopped = vspawn.Ptr(1000), vspawn.Ptr(500), args[2] == "true"
	b := new([1]byte)
	var pinner runtime.Pinner
	pinner.Pin(b)
	defer pinner.Unpin()
	for _, end := range []struct {
		call string
		nr   uintptr
		file *os.File
	}{{"write", unix.SYS_WRITE, hereW}, {"read", unix.SYS_READ, goR}} {
		// By the same number all along.
		attr.Files = append(attr.Files, vspawn.File{Child: int(end.file.Fd()), Parent: end.file})
		attr.Syscalls = append(attr.Syscalls,
			vspawn.Syscall{Before: before, Name: end.call, Nr: end.nr, Args: [6]uintptr{end.file.Fd(), asmtest.Addr(b), 1}})
	}
	done := make(chan error, 1)
	var child *vspawn.Process
	go func() {
		var err error
		child, err = vspawn.Start(noContext, program(argv), argv, &attr)
		hereW.Close() // if it has not come there, there is an end to read
		done <- err
	}()
	if n, _ := hereR.Read(b[:]); n != 1 {
		panic(<-done)
	}
	// The victim is to be a process by itself, which it is not quite when it is started.
	for stillShares(victim.Pid(), os.Getpid()) {
		time.Sleep(time.Millisecond)
	}
	// It returns when the kernel has killed, or when there is a signal for this thread.
	for s, err := victim.Poll(); s == nil; s, err = victim.Poll() {
		if err != nil {
			panic(err)
		}
		limitMemory(dir, "0")
	}
	limitMemory(dir, "max")
	if s, err := victim.Wait(noContext); err != nil || s.Signal() != unix.SIGKILL {
		panic(fmt.Sprint("memory has not run out: ", s, err))
	}
	goW.Write([]byte{0})
	if err := <-done; err != nil {
		panic(err)
	}
	adj := strings.TrimSpace(text(fmt.Sprintf("/proc/%d/oom_score_adj", child.Pid())))
	if attr.StartStopped {
		child.Signal(unix.SIGCONT)
	}
	hold.Close()
	s, err := child.Wait(noContext)
	if adj != "500" || err != nil || s.ExitCode() != 0 {
		panic(fmt.Sprint("the child had oom_score_adj ", adj, " and ended by ", s, err))
	}
	return 0
})

// limitMemory sets the limit of a cgroup.
func limitMemory(dir, max string) {
	// By a descriptor that blocks, which those of package os do not: since some
	// Linux 6 the kernel does nothing at once for one that does not.
	fd, err := unix.Open(dir+"/memory.max", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(max)); err != nil && err != unix.EINTR {
		panic(err)
	}
}

// A traced child has the oom_score_adj that was asked for, and its parent, whose
// memory it shares on its way without being one of vfork's, keeps its own.
func TestOOMScoreAdjOfTraced(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	p, err := start(t, tracedScoreHelper.Argv(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p, "exit status 0")
}

var tracedScoreHelper = helper.New("traced score", func([]string) int {
	const file, want = "/oom_score_adj", "1000" // which anyone may have
	own := words("/proc/self" + file)
	attr := vspawn.Attr{OOMScoreAdj: vspawn.Ptr(1000)}
	traced := ""
	err := atExec(&attr, func(pid string) { traced = words("/proc/" + pid + file) })
	if now := words("/proc/self" + file); err != nil || traced != want || now != own {
		fmt.Fprintf(os.Stderr, "with Ptrace: the child's is %q, the parent's was %q and is %q, %v\n", traced, own, now, err)
		return 1
	}
	attr.StartStopped = true
	argv := waitHelper.Argv()
	p, err := vspawn.Start(noContext, program(argv), argv, &attr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	stopped, now := words(fmt.Sprintf("/proc/%d%s", p.Pid(), file)), words("/proc/self"+file)
	p.Kill()
	if err := reap(p); err != nil || stopped != want || now != own {
		fmt.Fprintf(os.Stderr, "with StartStopped: the child's is %q, the parent's was %q and is %q, %v\n", stopped, own, now, err)
		return 1
	}
	return 0
})
