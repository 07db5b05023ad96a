//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// busyProgram is a program that this process has open for writing.
func busyProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path
}

// A start whose program is busy is tried again, unless the child has done what
// stays: that is done once.
func TestAgainOnce(t *testing.T) {
	helper.SkipEmulated(t, "way to start a program for its own machine")
	path, dir := busyProgram(t), t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	unix.SetNonblock(int(r.Fd()), true)
	word := new([8]byte)
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		attr Attr
		once bool
	}{
		{"nothing", Attr{}, false},
		{"/dev/null", Attr{Files: []File{{Child: 0, Path: "/dev/null"}}}, false},
		{"read", Attr{Files: []File{{Child: 0, Path: path}}}, false},
		{"Syscalls", Attr{Syscalls: []Syscall{{Name: "write", Nr: unix.SYS_WRITE, Args: [6]uintptr{w.Fd(), pointer(word), 1}}}}, true},
		{"O_EXCL", Attr{Files: []File{{Child: 0, Path: filepath.Join(dir, "new"), Flags: unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY, Mode: 0o600}}}, true},
		{"O_TRUNC", Attr{Files: []File{{Child: 0, Path: filepath.Join(dir, "new"), Flags: unix.O_TRUNC | unix.O_WRONLY}}}, true},
		{"FIFO", Attr{Files: []File{{Child: 0, Path: fifo, Flags: unix.O_RDWR}}}, true},
		{"elsewhere", Attr{Dir: dir, Files: []File{{Child: 0, Path: "new"}}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := Compile(path, nil, &c.attr)
			if err != nil {
				t.Fatal(err)
			}
			_, err = plan.Start(t.Context())
			if !busy(err) {
				t.Fatalf("got %v, want ETXTBSY of execve", err)
			}
			if once := plan.leaves(err); once != c.once {
				t.Errorf("it is done once: %v, want %v", once, c.once)
			}
		})
	}
	b := make([]byte, 8)
	if n, err := unix.Read(int(r.Fd()), b); n != 1 || err != nil {
		t.Errorf("the child's call was made %d times, %v", n, err)
	}
}

// A start that waited for the flag, and came further when it was tried again, is
// not tried a third time if its child has done what stays.
func TestAgainOnceFurther(t *testing.T) {
	if rootFilesAreOurs() {
		asOther(t)
	}
	f, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Compile("/x", nil, &Attr{OOMScoreAdj: new(int), Syscalls: []Syscall{{Name: "getpid", Nr: unix.SYS_GETPID}}})
	if err != nil {
		t.Fatal(err)
	}
	first := &Error{Step: "openat", Field: "OOMScoreAdj", Err: unix.EACCES}
	if !plan.passing(first, &f) {
		t.Skip("this process is not dumpable")
	}
	starts := 0
	_, err = plan.startAgain(t.Context(), &f, func(context.Context, *FeatureSet) (*Process, error) {
		starts++
		return nil, &Error{Step: "execve", Object: "/x", Err: unix.ETXTBSY}
	}, first)
	if starts != 1 || !busy(err) {
		t.Errorf("%d starts, %v, want one, and ETXTBSY", starts, err)
	}
}

// A start that is tried again, and whose context ends meanwhile, gives the cause,
// also while another hangs in a start under ForkLock.
func TestAgainCancelled(t *testing.T) {
	f, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Compile("/x", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	failed := &Error{Step: "execve", Object: "/x", Err: unix.ETXTBSY}
	for _, forking := range []bool{false, true} {
		t.Run(fmt.Sprint("ForkExec under way: ", forking), func(t *testing.T) {
			if forking {
				syscall.ForkLock.Lock()
				defer syscall.ForkLock.Unlock()
			}
			cause := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(cause)
			start := func(context.Context, *FeatureSet) (*Process, error) { return nil, failed }
			err := inTime(func() error {
				_, err := plan.startAgain(ctx, &f, start, failed)
				return err
			})
			var e *Error
			if !errors.As(err, &e) || *e != (Error{Step: "execve", Object: "/x", Err: cause}) {
				t.Errorf("got %v, want the cause", err)
			}
		})
	}
}

// holding has a file open for writing until it is killed, and prints a word when
// it has. Its arguments are the file and a flag.
var holding = helper.New("holding", func(args []string) int {
	flags := unix.O_WRONLY
	if args[1] == "O_CLOEXEC" {
		flags |= unix.O_CLOEXEC
	}
	if _, err := unix.Open(args[0], flags, 0); err != nil {
		return complain(err)
	}
	fmt.Println("there")
	for {
		time.Sleep(time.Hour)
	}
})

// A child that has a program open for writing, and will close it when it execs,
// is found.
func TestHeldByChild(t *testing.T) {
	helper.SkipEmulated(t, "list of children")
	if lists, _ := filepath.Glob("/proc/self/task/*/children"); len(lists) == 0 {
		t.Skip("the kernel does not list children (CONFIG_PROC_CHILDREN)")
	}
	path := busyProgram(t)
	if heldByChild(path) {
		t.Error("there is no child")
	}
	for _, c := range []struct {
		flag string
		want bool
	}{{"O_CLOEXEC", true}, {"no", false}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := startHelper(t, &Attr{Files: []File{{Child: 1, Parent: w}, {Child: 2, Parent: FD(2)}}}, holding, path, c.flag)
		w.Close()
		if _, err := r.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		r.Close()
		if got := heldByChild(path); got != c.want {
			t.Errorf("%s: held by a child: %v, want %v", c.flag, got, c.want)
		}
		p.Kill()
		if _, err := p.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if heldByChild(path) {
			t.Error("the child is gone")
		}
	}
}

// What a child does to mounts stays in a namespace that was there before it: the last
// that it enters counts.
func TestAgainOnceInMounts(t *testing.T) {
	helper.SkipEmulated(t, "ioctl that tells a namespace's type")
	open := func(name string) int {
		fd, err := unix.Open("/proc/self/ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Skip("no such namespaces (CONFIG_NAMESPACES): ", err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	mnt, uts := []Namespace{{FD: FD(open("mnt"))}}, []Namespace{{FD: FD(open("uts"))}}
	mounts := []Mount{{Source: "x", Target: "/x", Type: "tmpfs"}}
	for _, c := range []struct {
		name string
		attr Attr
		once bool
	}{
		{"Mounts, new", Attr{Cloneflags: unix.CLONE_NEWNS, Mounts: mounts}, false},
		{"Mounts, entered", Attr{Setns: mnt, Mounts: mounts}, true},
		{"Mounts, new and then entered", Attr{Cloneflags: unix.CLONE_NEWNS, Setns: mnt, Mounts: mounts}, true},
		{"Mounts, new, another entered", Attr{Cloneflags: unix.CLONE_NEWNS, Setns: uts, Mounts: mounts}, false},
		{"Mounts, entered and then new", Attr{Setns: mnt, Unshareflags: unix.CLONE_NEWNS, Mounts: mounts}, false},
		{"PivotRoot, new", Attr{Cloneflags: unix.CLONE_NEWNS, PivotRoot: "/x"}, false},
		{"PivotRoot, entered", Attr{Setns: mnt, PivotRoot: "/x"}, true},
		{"PrivateMounts, entered", Attr{Setns: mnt, PrivateMounts: true}, false}, // twice is as once
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := Compile("/x", nil, &c.attr)
			if err != nil {
				t.Fatal(err)
			}
			if once := plan.leaves(&Error{Step: "execve", Err: unix.ETXTBSY}); once != c.once {
				t.Errorf("it is done once: %v, want %v", once, c.once)
			}
		})
	}
}

// The first child of a PID namespace is not to be had twice: with its end that is over.
// The error is that it was busy.
func TestAgainInNewPIDNamespace(t *testing.T) {
	helper.SkipEmulated(t, "namespaces")
	path := busyProgram(t)
	failed := make(chan error)
	go inThread(func() {
		if err := unix.Unshare(unix.CLONE_NEWPID); err != nil {
			failed <- err
			return
		}
		_, err := Start(t.Context(), path, nil, nil)
		failed <- err
	})
	err := <-failed
	if err == unix.EPERM || err == unix.EINVAL {
		t.Skip("no PID namespace can be made: ", err)
	}
	if !busy(err) {
		t.Errorf("got %v, want ETXTBSY of execve", err)
	}
}
