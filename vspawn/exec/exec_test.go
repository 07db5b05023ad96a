//go:build linux

package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

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
