//go:build linux

package tests

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// probingHelper finds out what the kernel offers, on its main thread, once it is told
// to, and says it.
var probingHelper = helper.New("probing", func([]string) int {
	os.Stdout.WriteString("x")
	unix.Read(0, make([]byte, 1))
	f, err := vspawn.Features()
	fmt.Printf("%+v %v\n", f, err)
	return 0
})

// A child by which a process finds out what the kernel offers, and that is killed before
// it has done anything, tells nothing: the process does not take it for a copy of
// itself, whose memory nobody need guard. So it asks again, and if all are killed says
// so.
func TestProbeKilled(t *testing.T) {
	helper.SkipEmulated(t, "ptrace")
	want, err := vspawn.Features()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kills int
		want  string
	}{
		{0, fmt.Sprintf("%+v <nil>", want)},
		{1, fmt.Sprintf("%+v <nil>", want)},
		{3, fmt.Sprintf("%+v <nil>", want)},
		{1000, fmt.Sprintf("%+v vspawn: clone: resource temporarily unavailable", vspawn.FeatureSet{})},
	} {
		t.Run(fmt.Sprint(c.kills), func(t *testing.T) {
			if said, killed := probeBeside(t, c.kills); !strings.HasPrefix(said, c.want) || killed == 0 && c.kills > 0 {
				t.Errorf("with %d killed it found %s, want %s", killed, said, c.want)
			}
		})
	}
}

// probeBeside has a process find out, and kills so many of its children as they are
// born.
func probeBeside(t *testing.T, kills int) (said string, killed int) {
	runtime.LockOSThread() // which traces
	defer runtime.UnlockOSThread()
	inR, inW := blockingPipe(t)
	outR, outW := blockingPipe(t)
	argv := probingHelper.Argv()
	p, err := start(t, argv, &vspawn.Attr{Files: []vspawn.File{{Child: 0, Parent: inR}, {Child: 1, Parent: outW},
		{Child: 2, Parent: vspawn.FD(2)}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	outW.Close()
	if _, err := outR.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	pid := p.Pid()
	traced := func(what string, err error) {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	traced("PTRACE_SEIZE", unix.PtraceSeize(pid))
	traced("PTRACE_INTERRUPT", unix.PtraceInterrupt(pid))
	stop := func(pid int) (ws unix.WaitStatus) {
		_, err := unix.Wait4(pid, &ws, unix.WALL, nil)
		traced("wait4", err)
		return ws
	}
	stop(pid)
	traced("PTRACE_SETOPTIONS", unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACEVFORK))
	traced("PTRACE_CONT", unix.PtraceCont(pid, 0))
	inW.Write([]byte("x"))
	for {
		ws := stop(pid)
		deliver := 0
		switch {
		case !ws.Stopped():
			rest, err := io.ReadAll(outR)
			traced("reading", err)
			return string(rest), killed
		case ws.TrapCause() == unix.PTRACE_EVENT_VFORK:
			child, err := unix.PtraceGetEventMsg(pid)
			traced("PTRACE_GETEVENTMSG", err)
			if killed < kills {
				killed++
				traced("kill", unix.Kill(int(child), unix.SIGKILL))
				for stop(int(child)).Stopped() {
				}
			} else {
				stop(int(child))
				traced("PTRACE_DETACH", unix.PtraceDetach(int(child)))
			}
		case ws.TrapCause() < 0: // a signal of its own
			deliver = int(ws.StopSignal())
		}
		traced("PTRACE_CONT", unix.PtraceCont(pid, deliver))
	}
}
