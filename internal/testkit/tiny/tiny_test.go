//go:build linux

package tiny

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

func TestMain(m *testing.M) { helper.Main(m) }

func TestExit(t *testing.T) {
	for _, status := range []byte{0, 1, 7, 255} {
		argv := helper.Emulate(Exit(t, status))
		cmd := exec.Command(argv[0], argv[1:]...)
		if cmd.Run(); cmd.ProcessState.ExitCode() != int(status) {
			t.Errorf("%v, want exit status %d", cmd.ProcessState, status)
		}
	}
}

func TestSleep(t *testing.T) {
	argv := helper.Emulate(Sleep(t))
	cmd := exec.Command(argv[0], argv[1:]...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // a program that ends would have ended by then
	if err := cmd.Process.Signal(unix.SIGUSR1); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: user defined signal 1" {
		t.Error(err)
	}
}

// command starts a puppet by os/exec.
func command(t *testing.T, argv []string) (*exec.Cmd, *Puppet) {
	t.Helper()
	p := New(t)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.ExtraFiles = make([]*os.File, FD-3+1)
	cmd.ExtraFiles[FD-3] = p.Child
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, p
}

// A puppet does calls in its own process, and gives what they return and what
// they have written.
func TestPuppet(t *testing.T) {
	cmd, p := command(t, Argv(t, "one"))
	dir := make([]byte, 100)
	pid, mkdir, getcwd, missing := &Call{Nr: unix.SYS_GETPID}, &Call{Nr: unix.SYS_CHDIR, Args: []any{"/proc"}},
		&Call{Nr: unix.SYS_GETCWD, Args: []any{dir, len(dir)}}, &Call{Nr: unix.SYS_CHDIR, Args: []any{"/no/such/directory"}}
	for range 2 {
		if err := p.Do(pid, mkdir, getcwd, missing); err != nil {
			t.Fatal(err)
		}
		if pid.Result != cmd.Process.Pid || mkdir.Result != 0 || missing.Err() != unix.ENOENT ||
			unix.ByteSliceToString(dir) != "/proc" {
			t.Errorf("pid %d, chdir %d and %v, directory %q", pid.Result, mkdir.Result, missing.Err(), unix.ByteSliceToString(dir))
		}
	}
	p.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// It can be told to end, and then says nothing more.
func TestPuppetEnds(t *testing.T) {
	cmd, p := command(t, Argv(t))
	if err := p.Do(&Call{Nr: unix.SYS_EXIT_GROUP, Args: []any{3}}); err == nil {
		t.Error("it has answered")
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Error(err)
	}
}

func TestLocal(t *testing.T) {
	name := make([]byte, 400)
	uname, bad := &Call{Nr: unix.SYS_UNAME, Args: []any{name}}, &Call{Nr: unix.SYS_CHDIR, Args: []any{"/no/such/directory"}}
	if err := Local(uname, bad); err != nil || unix.ByteSliceToString(name) != "Linux" || bad.Err() != unix.ENOENT {
		t.Errorf("%v, %q, %v", err, unix.ByteSliceToString(name), bad.Err())
	}
}
