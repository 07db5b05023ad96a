//go:build linux

package tests

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// Where processes, descriptors, memory or room run out by the kernel's own limits, a
// start says which, and the next one is whole once there is some again.
func TestShort(t *testing.T) {
	for _, h := range []*helper.Helper{shortOfProcesses, shortOfDescriptors, shortOfFiles} {
		h.Argv("") // also where they are skipped
	}
	once(t)
	t.Run("RLIMIT_NPROC", func(t *testing.T) { runShort(t, shortOfProcesses, exits(t, 0)[0]) })
	t.Run("RLIMIT_NOFILE", func(t *testing.T) {
		helper.SkipEmulated(t, "clone that needs a descriptor")
		argv := exits(t, 0)
		out := output(t, shortOfDescriptors.Argv(argv[0]), &vspawn.Attr{}, "exit status 0")
		equal(t, "what it says", out, "")
	})
	t.Run("fs.file-max", shortFileMax)
	t.Run("pids.max", shortPids)
	t.Run("memory.max", shortMemory)
	t.Run("inodes", func(t *testing.T) { shortDisk(t, "nr_inodes=2", unix.ENOSPC) })
	t.Run("blocks", func(t *testing.T) { shortDisk(t, "size=4k", 0) })
}

// runShort runs a helper as an ordinary user, whom the limit holds for.
func runShort(t *testing.T, h *helper.Helper, args ...string) {
	t.Helper()
	helper.SkipEmulated(t, "limits of the program's own")
	attr := &vspawn.Attr{}
	if os.Getuid() == 0 {
		needCapability(t, unix.CAP_SETUID, "become another")
		helper.MakeReachable()
		attr.UID, attr.GID = vspawn.Ptr(1000), vspawn.Ptr(1000)
	}
	equal(t, "what it says", output(t, h.Argv(args...), attr, "exit status 0"), "")
}

// shortFileMax lowers fs.file-max for a moment.
func shortFileMax(t *testing.T) {
	const setting = "/proc/sys/fs/file-max"
	if os.Getenv("VSPAWN_TARGET") == "" {
		t.Skip("the machine is not ours alone")
	}
	needCapability(t, unix.CAP_SYS_ADMIN, "set fs.file-max")
	inR, inW := blockingPipe(t)
	outR, outW := blockingPipe(t)
	argv := shortOfFiles.Argv(exits(t, 0)[0])
	p, err := start(t, argv, &vspawn.Attr{UID: vspawn.Ptr(1000), GID: vspawn.Ptr(1000),
		Files: []vspawn.File{{Child: 0, Parent: inR}, {Child: 1, Parent: outW}, {Child: 2, Parent: outW}}})
	if err != nil {
		t.Fatal(err)
	}
	inR.Close()
	outW.Close()
	// The kernel looks first at a count that each processor adds to by 32 or more at a time
	// (fs/file_table.c, alloc_empty_file): in a guest it may be 0 without these.
	for range 500 {
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
	}
	was := strings.TrimSpace(text(setting))
	set := func(v string) {
		if err := os.WriteFile(setting, []byte(v), 0); err != nil {
			t.Error(err)
		}
	}
	ask := func() {
		inW.Write([]byte("x"))
		if _, err := outR.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		set("1")
		ask()
		set(was)
		ask()
	}
	said, _ := io.ReadAll(outR)
	equal(t, "what it says", string(said), "")
	wait(t, p, "exit status 0")
}

// shortPids starts children in a cgroup that takes none.
func shortPids(t *testing.T) {
	dir := controlledCgroup(t, "pids")
	attr := &vspawn.Attr{Cgroup: dir}
	path, _ := quick(t)
	leavesNothing(t, "none", func(t *testing.T) {
		writeSetting(t, dir.Name()+"/pids.max", "0")
		_, err := vspawn.Start(t.Context(), path, nil, attr)
		checkError(t, err, vspawn.Error{Step: "clone3", Err: unix.EAGAIN})
		checkHint(t, err)
		writeSetting(t, dir.Name()+"/pids.max", "max")
		p, err := vspawn.Start(t.Context(), path, nil, attr)
		if err != nil {
			t.Fatal(err)
		}
		wait(t, p, "exit status 0")
	})
}

// shortMemory starts children in a cgroup that has no memory for them: they fail, or
// are killed by the kernel, and their parent is not.
func shortMemory(t *testing.T) {
	dir := controlledCgroup(t, "memory")
	attr := &vspawn.Attr{Cgroup: dir}
	path, _ := quick(t)
	leavesNothing(t, "none", func(t *testing.T) {
		writeSetting(t, dir.Name()+"/memory.max", "0")
		short := 0
		for range 3 {
			p, err := vspawn.Start(t.Context(), path, nil, attr)
			if err != nil {
				short++
				if !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.EFAULT) {
					t.Errorf("got %v", err)
				}
				continue
			}
			if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL && !s.Success() {
				t.Errorf("the child ended by %v, %v", s, err)
			} else if s.Signal() == unix.SIGKILL {
				short++
			}
		}
		if short == 0 {
			t.Error("no child was short of memory")
		}
		writeSetting(t, dir.Name()+"/memory.max", "max")
		p, err := vspawn.Start(t.Context(), path, nil, attr)
		if err != nil {
			t.Fatal(err)
		}
		wait(t, p, "exit status 0")
	})
	emptied(t, dir.Name())
}

// shortDisk has a child open new files on a file system that is full.
func shortDisk(t *testing.T, option string, want unix.Errno) {
	needCapability(t, unix.CAP_SYS_ADMIN, "mount")
	helper.SkipEmulated(t, "mount")
	helper.SkipNoMMU(t, "tmpfs is ramfs, which has no limits")
	dir := realTemp(t)
	if err := unix.Mount("full", dir, "tmpfs", 0, option); err != nil {
		t.Skip("no tmpfs can be mounted here: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	there, made := filepath.Join(dir, "there"), filepath.Join(dir, "made")
	if err := os.WriteFile(there, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	path, _ := quick(t)
	open := func(file string, flags int) *vspawn.Attr {
		return &vspawn.Attr{Files: []vspawn.File{{Child: 0, Path: os.DevNull},
			{Child: 1, Path: file, Flags: unix.O_WRONLY | flags, Mode: 0o600}}}
	}
	for _, attr := range []*vspawn.Attr{open(made, unix.O_CREAT), open(there, 0), open(there, unix.O_TRUNC)} {
		leavesNothing(t, "open", func(t *testing.T) {
			p, err := vspawn.Start(t.Context(), path, nil, attr)
			if attr.Files[1].Path == made && want != 0 {
				checkError(t, err, vspawn.Error{Step: "openat", Field: "Files[1]", Object: made, Err: want})
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wait(t, p, "exit status 0")
		})
	}
}

// controlledCgroup is a cgroup with a controller.
func controlledCgroup(t *testing.T, controller string) *os.File {
	t.Helper()
	dir, _ := cgroup(t)
	if !newEnough(5, 7) {
		t.Skip("there is no CLONE_INTO_CGROUP (Linux 5.7)")
	}
	root := filepath.Dir(dir.Name())
	if !slices.Contains(strings.Fields(text(root+"/cgroup.controllers")), controller) {
		t.Skip("cgroup2 has no controller " + strconv.Quote(controller) + ": the kernel lacks it, or version 1 has it")
	}
	writeSetting(t, root+"/cgroup.subtree_control", "+"+controller)
	return dir
}

// emptied waits until there is no process in a cgroup.
func emptied(t *testing.T, path string) {
	t.Helper()
	for range 60_000 {
		if strings.Contains(text(path+"/cgroup.events"), "populated 0") {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("still in the cgroup: %s", words(path+"/cgroup.procs"))
}

// writeSetting writes a file of a cgroup by a descriptor that blocks: since some Linux 6
// the kernel reclaims nothing at once for one that does not.
func writeSetting(t *testing.T, path, value string) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(path, ": ", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		t.Fatal(path, ": ", err)
	}
}
