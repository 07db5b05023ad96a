//go:build linux && (amd64 || arm64 || riscv64)

package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/tests/helper"
	"github.com/vspawn/vspawn/tests/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

func TestMain(m *testing.M) { helper.Main(m) }

var (
	// say writes its arguments to its output and its error output.
	say = helper.New("say", func(args []string) int {
		fmt.Println(args[0])
		fmt.Fprintln(os.Stderr, args[1])
		return 1
	})
	// cat copies its input to its output until the end.
	cat = helper.New("cat", func([]string) int {
		io.Copy(os.Stdout, os.Stdin)
		return 0
	})
)

// zero is a Command of a program that ends at once.
func zero(t *testing.T) *Cmd {
	t.Helper()
	argv := helper.Emulate(tiny.Exit(t, 0))
	return Command(argv[0], argv[1:]...)
}

// facts is what a child has been given, by way of its puppet.
func facts(t *testing.T, p *tiny.Puppet) string {
	t.Helper()
	groups := make([]byte, 128)
	var dir [256]byte
	var pdeathsig [4]byte
	environ := make([]byte, 16384)
	calls := map[string]*tiny.Call{}
	var order []*tiny.Call
	ask := func(name string, nr int, args ...any) *tiny.Call {
		c := &tiny.Call{Nr: nr, Args: args}
		calls[name], order = c, append(order, c)
		return c
	}
	ask("pid", unix.SYS_GETPID)
	ask("session", unix.SYS_GETSID, 0)
	ask("group", unix.SYS_GETPGID, 0)
	ask("directory", unix.SYS_GETCWD, dir[:], len(dir))
	ask("uid", unix.SYS_GETUID)
	ask("gid", unix.SYS_GETGID)
	ask("groups", unix.SYS_GETGROUPS, len(groups)/4, groups)
	ask("pdeathsig", unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, pdeathsig[:])
	ask("umask", unix.SYS_UMASK, 0)
	ask("177", unix.SYS_FCNTL, 177, unix.F_GETFD)
	ask("environ", unix.SYS_OPENAT, unix.AT_FDCWD, "/proc/self/environ", unix.O_RDONLY)
	links := map[string][]byte{}
	for _, ns := range []string{"mnt", "uts", "user"} {
		links[ns] = make([]byte, 64)
		ask(ns, unix.SYS_READLINKAT, unix.AT_FDCWD, "/proc/self/ns/"+ns, links[ns], 64)
	}
	if err := p.Do(order...); err != nil {
		t.Fatal(err)
	}
	if err := p.Do(&tiny.Call{Nr: unix.SYS_READ, Args: []any{calls["environ"].Result, environ, len(environ)}}); err != nil {
		t.Fatal(err)
	}
	_, pwd, _ := strings.Cut("\x00"+string(environ), "\x00PWD=")
	pwd, _, _ = strings.Cut(pwd, "\x00")
	is := func(name string) int { return calls[name].Result }
	var out strings.Builder
	fmt.Fprintln(&out, "leads", is("session") == is("pid"), is("group") == is("pid"), "dir", unix.ByteSliceToString(dir[:]), pwd,
		"ids", is("uid"), is("gid"), is("groups"), groups, "pdeathsig", pdeathsig, "177", is("177") >= 0, "umask", is("umask"))
	for _, ns := range []string{"mnt", "uts", "user"} {
		own, _ := os.Readlink("/proc/self/ns/" + ns)
		fmt.Fprintln(&out, ns, "is new", unix.ByteSliceToString(links[ns]) != own)
	}
	return out.String()
}

// command is a Command of a helper's.
func command(h *helper.Helper, args ...string) *Cmd {
	argv := h.Argv(args...)
	return Command(argv[0], argv[1:]...)
}

// Both packages' errors are one type, and both packages' Cmd the same for all
// that a program sees of them.
func TestStandardTypes(t *testing.T) {
	c := command(say, "out", "err")
	out, err := c.Output()
	var exit *osexec.ExitError
	if string(out) != "out\n" || !errors.As(err, &exit) || exit.ExitCode() != 1 || string(exit.Stderr) != "err\n" {
		t.Errorf("got %q, %v", out, err)
	}
	if c.Process.Pid != c.ProcessState.Pid() || c.ProcessState.SysUsage() == nil {
		t.Error(c.Process, c.ProcessState)
	}
	_, err = LookPath("there-is-no-such-program")
	var notFound *osexec.Error
	if !errors.Is(err, osexec.ErrNotFound) || !errors.As(err, &notFound) {
		t.Errorf("got %v", err)
	}

	own, std := reflect.TypeFor[Cmd](), reflect.TypeFor[osexec.Cmd]()
	for i := range std.NumField() {
		if f := std.Field(i); f.IsExported() {
			if g, ok := own.FieldByName(f.Name); !ok || g.Type != f.Type {
				t.Errorf("Cmd has no field %s of type %v", f.Name, f.Type)
			}
		}
	}
	for i := range reflect.TypeFor[*osexec.Cmd]().NumMethod() {
		m := reflect.TypeFor[*osexec.Cmd]().Method(i)
		g, ok := reflect.TypeFor[*Cmd]().MethodByName(m.Name)
		if signature := func(m reflect.Method) string { // without the receiver
			_, s, _ := strings.Cut(m.Type.String(), "Cmd")
			return s
		}; !ok || signature(g) != signature(m) {
			t.Errorf("Cmd has no method %s of type %v", m.Name, m.Type)
		}
	}
}

// What fails has the standard's error, to the letter.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	noProgram := filepath.Join(dir, "empty")
	if err := os.WriteFile(noProgram, nil, 0o777); err != nil {
		t.Fatal(err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	type cmd interface {
		Start() error
		Wait() error
	}
	started := func(c cmd) cmd {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	program := tiny.Exit(t, 0)
	for _, c := range []struct {
		name     string
		own, std error
	}{
		{"no file", (&Cmd{Path: "/not/here"}).Run(), (&osexec.Cmd{Path: "/not/here"}).Run()},
		{"no program", (&Cmd{Path: noProgram}).Run(), (&osexec.Cmd{Path: noProgram}).Run()},
		{"no right", (&Cmd{Path: "/dev/null"}).Run(), (&osexec.Cmd{Path: "/dev/null"}).Run()},
		{"no directory", (&Cmd{Path: program, Dir: "/not/here"}).Run(), (&osexec.Cmd{Path: program, Dir: "/not/here"}).Run()},
		{"no command", (&Cmd{}).Run(), (&osexec.Cmd{}).Run()},
		{"not found", Command("there-is-none").Run(), osexec.Command("there-is-none").Run()},
		{"context", CommandContext(done, program).Run(), osexec.CommandContext(done, program).Run()},
		{"cancel", (&Cmd{Path: program, Cancel: func() error { return nil }}).Run(), (&osexec.Cmd{Path: program, Cancel: func() error { return nil }}).Run()},
		{"again", started(zero(t)).Start(), started(osexec.Command(zero(t).Path, zero(t).Args[1:]...)).Start()},
		{"wait again", started(zero(t)).Wait(), started(osexec.Command(zero(t).Path, zero(t).Args[1:]...)).Wait()},
		{"not started", (&Cmd{}).Wait(), (&osexec.Cmd{}).Wait()},
		{"environment", (&Cmd{Path: program, Env: []string{"A=\x00"}}).Run(), (&osexec.Cmd{Path: program, Env: []string{"A=\x00"}}).Run()},
		{"root", (&Cmd{Path: program, SysProcAttr: &syscall.SysProcAttr{Chroot: "/not/here"}}).Run(), (&osexec.Cmd{Path: program, SysProcAttr: &syscall.SysProcAttr{Chroot: "/not/here"}}).Run()},
	} {
		if c.own == nil || c.std == nil || c.own.Error() != c.std.Error() {
			t.Errorf("%s: got %v, os/exec gives %v", c.name, c.own, c.std)
			continue
		}
		var own, std *fs.PathError
		if errors.As(c.std, &std) && (!errors.As(c.own, &own) || *own != *std) {
			t.Errorf("%s: got %#v, os/exec gives %#v", c.name, c.own, c.std)
		}
	}
}

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

// What SysProcAttr says becomes these system calls.
func TestPlan(t *testing.T) {
	type attr = syscall.SysProcAttr
	for _, c := range []struct {
		attr attr
		want string
	}{
		{attr{Setctty: true, Setsid: true, Ctty: 1}, "setsid()\n…ioctl(0x1, 0x540e, 0x1,"},
		{attr{Noctty: true, Setctty: true}, "ioctl(0x0, 0x5422, …ioctl(0x0, 0x540e, 0x1,"},
		{attr{Foreground: true, Ctty: 0}, "setpgid(0, 0)…ioctl(0, TIOCSPGRP"},
		{attr{Foreground: true, Setpgid: true, Pgid: 7}, "setpgid(0, 7)…ioctl(0, TIOCSPGRP"},
		{attr{Ptrace: true}, "ptrace(PTRACE_TRACEME"},
		{attr{Chroot: "/x"}, "chroot(\"/x\")…chdir(\"/\")"},
		{attr{Unshareflags: syscall.CLONE_NEWNS}, "unshare(CLONE_NEWNS)…mount(NULL, \"/\", NULL, 0x44000,"},
		{attr{UseCgroupFD: true, CgroupFD: 0}, "CLONE_INTO_CGROUP"},
		{attr{AmbientCaps: []uintptr{10}}, "PR_CAP_AMBIENT"},
		{attr{GidMappings: []syscall.SysProcIDMap{{Size: 1}}, Cloneflags: syscall.CLONE_NEWUSER, GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{}}, "setgroups(0"},
	} {
		plan, err := (&Cmd{Path: "/x", SysProcAttr: &c.attr}).plan([]int{0, 1, 2}, nil)
		if err != nil {
			t.Errorf("%+v: %v", c.attr, err)
			continue
		}
		rest := plan.String()
		for _, part := range strings.Split(c.want, "…") {
			var ok bool
			if _, rest, ok = strings.Cut(rest, part); !ok {
				t.Errorf("%+v: want %s in\n%s", c.attr, c.want, plan)
				break
			}
		}
	}
	for _, c := range []struct {
		attr attr
		own  *vspawn.Attr
		want string
	}{
		{attr: attr{Setctty: true, Ctty: 3}, want: "Setctty set but Ctty not valid in child"},
		{attr: attr{Setctty: true, Foreground: true}, want: "both Setctty and Foreground set in SysProcAttr"},
		{attr: attr{AmbientCaps: []uintptr{64}}, want: "AmbientCaps: there is no"},
		{attr: attr{Cloneflags: syscall.CLONE_FILES}, want: "Cloneflags: what the child does to itself"},
		{attr: attr{Cloneflags: syscall.CLONE_PARENT}, want: "Cloneflags: no one here could wait"},
		{attr: attr{UidMappings: []syscall.SysProcIDMap{{Size: 1}}}, want: "UidMappings: needs CLONE_NEWUSER"},
		{attr: attr{Chroot: "/a"}, own: &vspawn.Attr{Chroot: "/b"}, want: "SysProcAttr.Chroot: contradicts"},
		{attr: attr{Credential: &syscall.Credential{}}, own: &vspawn.Attr{UID: vspawn.Ptr(1)}, want: "SysProcAttr.Credential: contradicts"},
		{own: &vspawn.Attr{Env: []string{}}, want: "Env: set in Attr"},
		{own: &vspawn.Attr{Dir: "/"}, want: "Dir: set in Attr"},
		{own: &vspawn.Attr{Files: []vspawn.File{{Child: 1, Parent: 1}}}, want: "descriptor 1 is named twice"},
		{own: &vspawn.Attr{Nice: vspawn.Ptr(99)}, want: "Nice"},
	} {
		err := (&Cmd{Path: "/x", SysProcAttr: &c.attr, Attr: c.own}).Start()
		var path *fs.PathError
		if !errors.As(err, &path) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v, %+v: got %v, want %s", c.attr, c.own, err, c.want)
		}
	}
}

// Attr gives what os/exec has not, and a child without leaked descriptors.
func TestAttr(t *testing.T) {
	high, err := unix.FcntlInt(0, unix.F_DUPFD, 177)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)
	for _, c := range []struct {
		attr *vspawn.Attr
		want string
	}{
		{nil, "177 true"},
		{&vspawn.Attr{Umask: vspawn.Ptr(0o27)}, "177 false umask 23"},
		{&vspawn.Attr{InheritFiles: true}, "177 true"},
		// What ExtraFiles gives, the puppet's among it, is not in the ranges.
		{&vspawn.Attr{InheritFiles: true, CloseRanges: []vspawn.Range{{First: 3, NoEnd: true}}}, "177 false"},
		{&vspawn.Attr{InheritFiles: true, CloseRanges: []vspawn.Range{{First: 1, Last: 150}}}, "177 true"},
	} {
		argv, puppet := tiny.Argv(t), tiny.New(t)
		cmd := Command(argv[0], argv[1:]...)
		cmd.Attr, cmd.ExtraFiles = c.attr, extra(puppet)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if got := facts(t, puppet); !strings.Contains(got, c.want) {
			t.Errorf("got %s, want %s", got, c.want)
		}
		puppet.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	cmd := zero(t)
	cmd.Attr = &vspawn.Attr{Chroot: "/not/here"}
	var e *vspawn.Error
	if err := cmd.Run(); !errors.As(err, &e) || e.Step != "chroot" {
		t.Errorf("got %v", err)
	}
}

// A nil among ExtraFiles, and a closed file in the standard's places, is a
// closed descriptor, whatever the parent has open there.
func TestClosed(t *testing.T) {
	gone, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	high, err := unix.FcntlInt(0, unix.F_DUPFD, 77)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)
	for _, attr := range []*vspawn.Attr{nil, {Umask: vspawn.Ptr(0)}, {InheritFiles: true, Files: []vspawn.File{{Child: 78, Parent: 2}}}} {
		argv, puppet := tiny.Argv(t), tiny.New(t)
		cmd := Command(argv[0], argv[1:]...)
		cmd.Stdin, cmd.ExtraFiles, cmd.Attr = gone, extra(puppet), attr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for fd, open := range map[int]bool{0: false, 1: true, 2: true, 77: false, 78: attr != nil && attr.Files != nil} {
			c := &tiny.Call{Nr: unix.SYS_FCNTL, Args: []any{fd, unix.F_GETFD}}
			if err := puppet.Do(c); err != nil || (c.Err() == nil) != open {
				t.Errorf("with Attr %t: descriptor %d: %v, %v, want it open: %t", attr != nil, fd, c.Err(), err, open)
			}
		}
		puppet.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
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

// A command whose Process alone is waited for leaves nothing behind.
func TestProcessWait(t *testing.T) {
	before := count(t, "/proc/self/fd")
	for range 10 {
		c := zero(t)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if s, err := c.Process.Wait(); err != nil || !s.Success() {
			t.Fatal(s, err)
		}
	}
	for count(t, "/proc/self/fd") > before {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
}

// Waiting holds no thread.
func TestThreads(t *testing.T) {
	features, err := vspawn.Features()
	if err != nil {
		t.Fatal(err)
	}
	if !features.Pidfd {
		t.Skip("the kernel has no pidfd")
	}
	children := helper.Rounds(100)
	before := count(t, "/proc/self/task")
	var wg sync.WaitGroup
	var all []*Cmd
	argv := helper.Emulate(tiny.Sleep(t))
	for range children {
		c := Command(argv[0], argv[1:]...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
		wg.Go(func() {
			if err := c.Wait(); err == nil || err.Error() != "signal: killed" {
				t.Error(err)
			}
		})
	}
	for range 100 { // all have long begun to wait
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
	if now := count(t, "/proc/self/task"); now > before+10 {
		t.Errorf("%d threads wait for %d children", now-before, children)
	}
	for _, c := range all {
		if err := c.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

func count(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A context ends the command, also by a Cancel of the caller's, and with
// WaitDelay whatever still holds its output.
func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	argv := cat.Argv()
	c := CommandContext(ctx, argv[0], argv[1:]...)
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer w.Close()
	c.Stdin = in
	c.Stdout = new(bytes.Buffer)
	c.Cancel = func() error { return errors.New("not now") }
	c.WaitDelay = time.Millisecond
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	cancel()
	var exit *ExitError
	if err := c.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("got %v", err)
	}
}

// A second Wait says the same as one that failed, also with a context, where
// os/exec waits for ever.
func TestWaitAgain(t *testing.T) {
	argv := helper.Emulate(tiny.Exit(t, 0))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := CommandContext(ctx, argv[0], argv[1:]...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	pid := c.Process.Pid
	if err := c.Process.Release(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Wait(); err != syscall.EINVAL {
			t.Errorf("got %v", err)
		}
	}
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
}

// Of a variable's values the last one counts, where it stands.
func TestUnique(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"A=1 B=2 A=3", "B=2 A=3"},
		{"A=1 a=2", "A=1 a=2"},
		{"=C:=1 =D:=2 =C:=3", "=D:=2 =C:=3"},
		{"none A=1 none", "none A=1 none"},
		{"=x =x A=", "=x A="},
	} {
		got, err := unique(strings.Fields(c.in))
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("unique(%s): got %s, %v, want %s", c.in, got, err, c.want)
		}
		std := (&osexec.Cmd{Env: strings.Fields(c.in)}).Environ()
		if !slices.Equal(got, std) {
			t.Errorf("%s: got %q, os/exec gives %q", c.in, got, std)
		}
	}
	if got, err := unique([]string{"A=1", "B=\x00", "A=2\x00", ""}); err == nil || !slices.Equal(got, []string{"A=1"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

// An excerpt has both ends, and says how much it has left out.
func TestExcerpt(t *testing.T) {
	for _, c := range []struct {
		in   []string
		want string
	}{
		{nil, ""},
		{[]string{"abc"}, "abc"},
		{[]string{"abcd", "efgh"}, "abcdefgh"},
		{[]string{"abcdefghi"}, "abcd\n... omitting 1 bytes ...\nfghi"},
		{[]string{"a", "bcdefgh", "ijklmnopqrs", "tu", "vwxyz"}, "abcd\n... omitting 18 bytes ...\nwxyz"},
	} {
		e := &excerpt{size: 4}
		for _, s := range c.in {
			if n, err := io.WriteString(e, s); n != len(s) || err != nil {
				t.Error(n, err)
			}
		}
		if got := string(e.bytes()); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}
