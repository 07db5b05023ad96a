//go:build linux

package exec

import (
	"errors"
	"os"
	osexec "os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// Each field of SysProcAttr does the same as under os/exec.
func TestSysProcAttr(t *testing.T) {
	high, err := unix.FcntlInt(0, unix.F_DUPFD, 177) // not close-on-exec: inherited
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)
	type attr = syscall.SysProcAttr
	self := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	group := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	for _, c := range []struct {
		name string
		attr *attr
		root bool
	}{
		{name: "none"},
		{name: "Setsid", attr: &attr{Setsid: true}},
		{name: "Setpgid", attr: &attr{Setpgid: true}},
		{name: "Pdeathsig", attr: &attr{Pdeathsig: syscall.SIGHUP}},
		{name: "Credential", attr: &attr{Credential: &syscall.Credential{Uid: 1, Gid: 2, Groups: []uint32{3, 4}}}, root: true},
		{name: "no groups", attr: &attr{Credential: &syscall.Credential{Uid: 0, Gid: 2}}, root: true},
		{name: "same groups", attr: &attr{Credential: &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()), NoSetGroups: true}}},
		{name: "Cloneflags", attr: &attr{Cloneflags: syscall.CLONE_NEWUTS}, root: true},
		{name: "Unshareflags", attr: &attr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS}, root: true},
		{name: "user namespace", attr: &attr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: self, GidMappings: group}, root: true},
		{name: "own user namespace", attr: &attr{Unshareflags: syscall.CLONE_NEWUSER, UidMappings: self, GidMappings: group}, root: true},
		{name: "id in a user namespace", attr: &attr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: self, GidMappings: group, Credential: &syscall.Credential{}}, root: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root {
				helper.SkipEmulated(t, "namespaces, and no privileges")
				if os.Geteuid() != 0 {
					t.Skip("needs root")
				}
			}
			if c.attr != nil && (c.attr.Cloneflags|c.attr.Unshareflags)&syscall.CLONE_NEWUSER != 0 {
				helper.SkipNoMMU(t, "os/exec forks for a user namespace")
			}
			argv := tiny.Argv(t)
			own, std := Command(argv[0], argv[1:]...), osexec.Command(argv[0], argv[1:]...)
			own.SysProcAttr, std.SysProcAttr = c.attr, c.attr
			own.Dir, std.Dir = "/", "/"
			forOwn, forStd := tiny.New(t), tiny.New(t)
			own.ExtraFiles, std.ExtraFiles = extra(forOwn), extra(forStd)
			if err := errors.Join(own.Start(), std.Start()); err != nil {
				t.Fatal(err)
			}
			got, want := facts(t, forOwn), facts(t, forStd)
			forOwn.Close()
			forStd.Close()
			if err := errors.Join(own.Wait(), std.Wait()); err != nil {
				t.Error(err)
			}
			if got != want {
				t.Errorf("got\n%s\nos/exec gives\n%s", got, want)
			}
		})
	}
}

// extra are the ExtraFiles for a puppet.
func extra(p *tiny.Puppet) []*os.File {
	files := make([]*os.File, tiny.FD-3+1)
	files[tiny.FD-3] = p.Child
	return files
}

// A field that this package doesn't know is refused by its name, and the table
// has no others.
func TestSysProcAttrFields(t *testing.T) {
	var fields []string
	for i := range reflect.TypeFor[syscall.SysProcAttr]().NumField() {
		fields = append(fields, reflect.TypeFor[syscall.SysProcAttr]().Field(i).Name)
	}
	for name := range sysProcAttr {
		if !slices.Contains(fields, name) {
			t.Errorf("SysProcAttr has no %s", name)
		}
	}
	for _, name := range fields {
		if _, ok := sysProcAttr[name]; !ok {
			t.Errorf("nothing is known of SysProcAttr.%s", name)
		}
	}
	old := sysProcAttr["Setsid"]
	delete(sysProcAttr, "Setsid")
	defer func() { sysProcAttr["Setsid"] = old }()
	c := &Cmd{Path: "/", SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if err := c.Start(); err == nil || !strings.Contains(err.Error(), "SysProcAttr.Setsid: vspawn has nothing for it") {
		t.Errorf("got %v", err)
	}
}

// The pidfd that SysProcAttr asks for is the child's, and the caller's.
func TestPidFD(t *testing.T) {
	features, err := vspawn.Features()
	if err != nil {
		t.Fatal(err)
	}
	fd := -2
	c := zero(t)
	c.SysProcAttr = &syscall.SysProcAttr{PidFD: &fd}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if features.Pidfd != (fd >= 0) {
		t.Errorf("got %d", fd)
	}
	if fd >= 0 {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); err != nil {
			t.Error(err)
		}
		unix.Close(fd)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

// Wait returns for the stop of a traced command, as under os/exec.
func TestPtrace(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	argv := helper.Emulate(tiny.Exit(t, 3))
	c := Command(argv[0], argv[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil || err.Error() != "stop signal: trace/breakpoint trap" {
		t.Errorf("got %v", err)
	}
	if err := unix.PtraceDetach(c.Process.Pid); err != nil {
		t.Error(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(c.Process.Pid, &status, 0, nil); err != nil || status.ExitStatus() != 3 {
		t.Error(status, err)
	}
}
