//go:build linux

package vspawn

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// tracing traces the process that it is told of until its input ends, and takes no
// news of it.
var tracing = helper.New("tracing", func(args []string) int {
	pid, err := strconv.Atoi(args[0])
	if err == nil {
		runtime.LockOSThread()
		err = unix.PtraceSeize(pid)
	}
	fmt.Print(err)
	os.Stdout.Close()
	io.Copy(io.Discard, os.Stdin)
	return 0
})

// traceIt has another process trace a child, until the function that it gives is called.
func traceIt(t *testing.T, p *Process) (end func()) {
	t.Helper()
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	tracer := startHelper(t, &Attr{Files: []File{
		{Child: 0, Parent: inR}, {Child: 1, Parent: outW}, {Child: 2, Parent: FD(2)}}}, tracing, strconv.Itoa(p.Pid()))
	inR.Close()
	outW.Close()
	end = sync.OnceFunc(func() {
		inW.Close()
		if s, err := tracer.Wait(context.Background()); err != nil || !s.Success() {
			t.Error("the tracer: ", s, err)
		}
	})
	t.Cleanup(end)
	said, err := io.ReadAll(outR)
	outR.Close()
	if err != nil || string(said) != "<nil>" {
		t.Skip("a child can't be traced by another process: ", string(said), err)
	}
	return end
}

// Whoever traces a child has the news of its end first, and may keep it as long as he
// lives. That holds up no wait whose context ends, nor other calls.
func TestWaitTracedByOther(t *testing.T) {
	tracing.Argv() // also where this is skipped
	helper.SkipEmulated(t, "ptrace")
	p := startSleep(t, nil)
	t.Cleanup(func() { p.Kill() })
	end := traceIt(t, p)
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	if f, err := Features(); err != nil || f.Pidfd {
		if err := p.WaitExit(t.Context()); err != nil {
			t.Error("WaitExit: ", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	go func() {
		_, err := p.Wait(ctx)
		waiting <- err
	}()
	cancel()
	if err := inTime(func() error { return <-waiting }); err != context.Canceled {
		t.Errorf("Wait gave %v", err)
	}
	if err := inTime(func() error { return p.Signal(0) }); err != nil {
		t.Errorf("Signal gave %v", err)
	}
	if err := inTime(func() error { _, err := p.Poll(); return err }); err != nil {
		t.Errorf("Poll gave %v", err)
	}
	end()
	if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL {
		t.Errorf("Wait then gave %v, %v", s, err)
	}
}

// Of the SIGSTOPs that reach a traced child on its way one is its own, also where the
// kernel does not say who has sent it.
func TestStopsOfNobody(t *testing.T) {
	const siUser = 0
	own, nobody := &siginfo{code: siTkill, pid: 7}, &siginfo{code: siUser}
	other := &siginfo{code: siUser, pid: 9}
	for i, x := range []struct {
		stops  []*siginfo
		others bool
	}{
		{[]*siginfo{own}, false},
		{[]*siginfo{nobody}, false}, // its own, for want of memory
		{[]*siginfo{nobody, own}, true},
		{[]*siginfo{own, nobody}, true},
		{[]*siginfo{nobody, nobody}, true},
		{[]*siginfo{own, other}, true},
		{[]*siginfo{nobody, other}, true},
	} {
		var tr tracee
		for _, s := range x.stops {
			tr.stoppedBy(s)
		}
		if got := tr.others(); got != x.others {
			t.Errorf("row %d: stopped by others: %t", i, got)
		}
	}
}
