//go:build linux

package tests

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
)

// Pdeathsig reaches the child when its parent dies.
func TestPdeathsigSent(t *testing.T) {
	helper.SkipEmulated(t, "subreaper")
	// The orphan becomes our child, so we learn how it ended.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	inR, inW := blockingPipe(t)
	outR, outW := blockingPipe(t)
	p, err := start(t, mortalHelper.Argv(), &vspawn.Attr{Files: []vspawn.File{
		{Child: 0, Parent: inR}, {Child: 1, Parent: outW}, {Child: 2, Parent: vspawn.FD(2)}}})
	if err != nil {
		t.Fatal(err)
	}
	outW.Close()
	wait(t, p, "exit status 0")
	out, _ := io.ReadAll(outR)
	orphan, err := strconv.Atoi(string(out))
	if err != nil {
		t.Fatalf("the helper says %q: %v", out, err)
	}
	inW.Close() // or else it ends by itself
	var ws unix.WaitStatus
	for {
		if _, err = unix.Wait4(orphan, &ws, 0, nil); err != unix.EINTR {
			break
		}
	}
	if err != nil || !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		t.Errorf("wait status %#x, %v; want SIGKILL", ws, err)
	}
}

// mortalHelper has a child that is not to survive it, and says its pid.
var mortalHelper = helper.New("mortal", func([]string) int {
	argv := waitHelper.Argv()
	p, err := vspawn.Start(noContext, program(argv), argv, &vspawn.Attr{
		Pdeathsig: unix.SIGKILL, Files: []vspawn.File{{Child: 0, Parent: vspawn.FD(0)}, {Child: 2, Parent: vspawn.FD(2)}}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Print(p.Pid())
	return 0
})

// It is not sent when only the thread ends whose goroutine has called Start
// (golang/go#27505). So it is with DieWithParent.
func TestPdeathsigOfThread(t *testing.T) {
	for name, attr := range map[string]vspawn.Attr{"Pdeathsig": {Pdeathsig: unix.SIGKILL},
		"DieWithParent": {DieWithParent: true}, "DieWithParent, NNP": {DieWithParent: true, NoNewPrivs: true}} {
		t.Run(name, func(t *testing.T) { outlivesThread(t, &attr) })
	}
}

func outlivesThread(t *testing.T, attr *vspawn.Attr) {
	r, w := blockingPipe(t)
	thread := make(chan int)
	var p *vspawn.Process
	var err error
	go func() {
		for {
			before := unix.Gettid()
			a := *attr
			a.Files = []vspawn.File{{Child: 0, Parent: r}, {Child: 2, Parent: vspawn.FD(2)}}
			p, err = start(t, waitHelper.Argv(), &a)
			// Not before: a child of a goroutine that is locked is its thread's.
			runtime.LockOSThread() // and no unlock, so the thread ends
			if err != nil || before == unix.Gettid() && before != unix.Getpid() {
				thread <- unix.Gettid()
				return
			}
			runtime.UnlockOSThread()
			p.Kill()
			reap(p)
			time.Sleep(time.Millisecond)
		}
	}()
	tid := <-thread
	if err != nil {
		t.Fatal(err)
	}
	for stat("self/task/"+strconv.Itoa(tid)).state != "" {
		time.Sleep(time.Millisecond)
	}
	w.Close()
	wait(t, p, "exit status 0")
}
