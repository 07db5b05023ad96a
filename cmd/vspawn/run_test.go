//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/vspawn"
)

// pipe gives an end that vspawn takes for one that it was given.
func pipe(t *testing.T) (r *os.File, w int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fds[1]), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	r = os.NewFile(uintptr(fds[0]), "pipe")
	t.Cleanup(func() { r.Close() })
	return r, fds[1]
}

func TestChildSees(t *testing.T) {
	r, w := pipe(t)
	t.Setenv("A", "ours")
	t.Setenv("B", "ours")
	status, text := vspawnRun([]string{"-fd", fmt.Sprint("3=", w), "-argv0", "name", "-dir", "/proc", "-env", "A=1", "-env", "A=2", "-clear-env"}, "print")
	unix.Close(w)
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if status != 0 || text != "" || string(got) != "name /proc 2  2\n" {
		t.Errorf("status %d, %q, the child says %q", status, text, got)
	}
}

// A descriptor of our own runtime's is not to be had.
func TestOwnDescriptor(t *testing.T) {
	f, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	status, text := vspawnRun([]string{"-fd", fmt.Sprint("3=", f.Fd())}, "exit", "0")
	if status != 2 || !strings.Contains(text, "is not open") {
		t.Errorf("status %d, %q", status, text)
	}
}

// Signals are passed on; those of the keyboard only to another process group,
// since in our own the terminal has sent them already.
func TestSignals(t *testing.T) {
	for _, c := range []struct {
		flags []string
		send  []syscall.Signal
		get   syscall.Signal // the first that arrives
	}{
		{nil, []syscall.Signal{unix.SIGTERM}, unix.SIGTERM},
		{nil, []syscall.Signal{unix.SIGHUP}, unix.SIGHUP},
		{nil, []syscall.Signal{unix.SIGUSR2}, unix.SIGUSR2},
		{nil, []syscall.Signal{unix.SIGINT, unix.SIGUSR1}, unix.SIGUSR1},
		{[]string{"-setsid"}, []syscall.Signal{unix.SIGINT}, unix.SIGINT},
		{[]string{"-pgid", "0"}, []syscall.Signal{unix.SIGQUIT}, unix.SIGQUIT},
	} {
		r, w := pipe(t)
		// Two signals may arrive in either order, and the later of them when all is over:
		// the next vspawn would take it for its own. Nor is one ignored here, as SIGINT is
		// in the background of a script.
		sent := make(chan os.Signal, len(c.send))
		for _, s := range c.send {
			signal.Notify(sent, s)
		}
		go func() {
			r.Read(make([]byte, 1))
			whenStarted()
			for _, s := range c.send {
				unix.Kill(os.Getpid(), s)
			}
		}()
		status, text := vspawnRun(append(c.flags, "-fd", fmt.Sprint("3=", w)), "await", strconv.Itoa(int(c.get)))
		unix.Close(w)
		for range c.send {
			<-sent
		}
		signal.Stop(sent)
		if status != 40+int(c.get) || text != "" {
			t.Errorf("%v, sent %v: status %d, %q, want %d", c.flags, c.send, status, text, 40+c.get)
		}
	}
}

// whenStarted waits until no start is under way in this process. A signal would end one,
// though the child runs its program already: where that has a session of its own the
// kernel may give it a processor sooner than us.
func whenStarted() {
	stacks := make([]byte, 1<<20)
	for bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("vspawn.(*Plan).Start(")) {
		time.Sleep(time.Millisecond)
	}
}

// A signal that we were told to ignore, as by nohup, the child ignores too.
func TestIgnoredSignal(t *testing.T) {
	signal.Ignore(unix.SIGHUP)
	// Neither Reset nor Stop would end it: children would go on to ignore the signal.
	defer signal.Notify(make(chan os.Signal, 1), unix.SIGHUP)
	if status, text := vspawnRun(nil, "ignores"); status != 0 || text != "" {
		t.Errorf("status %d, %q", status, text)
	}
	if status, text := vspawnRun([]string{"-default", "HUP"}, "ignores"); status != 1 || text != "" {
		t.Errorf("with -default: status %d, %q", status, text)
	}
}

// pty opens a new terminal. What is written to ptmx it takes for its keyboard.
func pty(t *testing.T) (ptmx, tty *os.File) {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ptmx.Close() })
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return ptmx, tty
}

// A child that got the terminal doesn't keep it.
func TestForeground(t *testing.T) {
	_, tty := pty(t)
	cmd := exec.Command("/proc/self/exe", "terminal")
	cmd.Env = append(os.Environ(), asChild+"=1")
	cmd.Stdin = tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A start that hangs is given up on a signal, and the status says which. Here
// the child sends it, and then waits for ever. It may be killed before it does.
func TestInterruptedStart(t *testing.T) {
	plan, err := vspawn.Compile("/proc/self/exe", nil, &vspawn.Attr{Syscalls: []vspawn.Syscall{
		{Name: "kill", Nr: unix.SYS_KILL, Args: [6]uintptr{uintptr(os.Getpid()), uintptr(unix.SIGTERM)}},
		{Name: "ppoll", Nr: unix.SYS_PPOLL},
	}})
	if err != nil {
		t.Fatal(err)
	}
	status, err := start(plan, &request{})
	if status != 128+15 || err == nil || !strings.Contains(err.Error(), "(Attr.Syscalls[") {
		t.Errorf("status %d, %v", status, err)
	}
}
