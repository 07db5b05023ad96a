//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

const apartEnv = "VSPAWN_REPLAY"

// apart is the line of testdata/wait.scripts that this process is to replay alone: a
// sandbox can't be left, and a Reaper takes the main thread.
var apart = os.Getenv(apartEnv)

func init() {
	if apart != "" {
		os.Unsetenv(apartEnv)  // it is not for the processes that this one starts
		runtime.LockOSThread() // main runs on the main thread, alone
	}
}

func needsApart(script string) bool {
	return strings.Contains(script, "refuse") || strings.HasPrefix(script, "reaper")
}

// replayApart replays a line in a process of its own.
func replayApart(line string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "apart-") // where it leaves its programs
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command(exe, "-test.run=^TestWaitReplay$", "-test.v")
	cmd.Env = append(os.Environ(), apartEnv+"="+line, "TMPDIR="+dir)
	cmd.WaitDelay = time.Minute // its children have its output, and may outlive it if it fails
	out, err := cmd.CombinedOutput()
	if kernel, _, _ := strings.Cut(line, " "); err == nil && !strings.Contains(string(out), "--- PASS: TestWaitReplay/"+kernel) {
		err = errors.New("it was not replayed")
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// reapers are the Reapers that the main goroutine is to run.
var reapers = make(chan *Reaper)

// mainApart is TestMain where there may be a Reaper. It looks for no leaks: who may not
// wait can't.
func mainApart(m *testing.M) {
	go func() { syscall.Exit(m.Run()) }() // as in helper.Main
	if err := (<-reapers).Run(context.Background()); err != nil {
		panic(err)
	}
}

// An orphan is a process that may become this one's child. nil is none.
type orphan struct {
	pid  int // once it is there
	told chan int
}

// newReaper has a Reaper run, for an orphan to come.
func newReaper() *orphan {
	o := &orphan{told: make(chan int, 9)}
	if err := Subreaper(); err != nil {
		panic(err)
	}
	reapers <- &Reaper{Orphan: func(s *State) { o.told <- s.Pid() }}
	return o
}

// leaving starts the program of its arguments, says its number, and leaves it behind.
var leaving = helper.New("leaving", func(args []string) int {
	p, err := Start(context.Background(), args[0], args, &Attr{Files: []File{}}) // not our output
	if err != nil {
		return complain(err)
	}
	fmt.Println(p.Pid())
	return 0
})

func (o *orphan) comes(t *testing.T) {
	t.Helper()
	out, err := leaving.Command(helper.Emulate(tiny.Sleep(t))...).Output()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Sscan(string(out), &o.pid)
}

// ends has the orphan end, whether it has come or only now comes, and wants to be told of
// it once.
func (o *orphan) ends(t *testing.T) {
	t.Helper()
	if o.pid == 0 {
		o.comes(t)
	}
	if err := unix.Kill(o.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if pid := <-o.told; pid != o.pid {
		t.Errorf("the orphan is %d, and %d was reaped", o.pid, pid)
	}
	o.pid = -1
}

func (o *orphan) over(t *testing.T) {
	t.Helper()
	switch {
	case o == nil:
		return
	case o.pid >= 0:
		o.ends(t)
	}
	if len(o.told) > 0 {
		t.Errorf("the Reaper has told of %d too", <-o.told)
	}
}
