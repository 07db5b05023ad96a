//go:build linux

package tests

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// autokill tells whether the kernel binds a child of DieWithParent to its pidfd, if it is
// one with NoNewPrivs: the attributes of these tests' children.
func autokill(t *testing.T) bool {
	t.Helper()
	f, err := vspawn.Features()
	if err != nil {
		t.Fatal(err)
	}
	return f.Autokill
}

// dying are the ways to be killed with the parent: with privileges, without, and the other
// that there is on an older kernel.
var dying = map[string]vspawn.Attr{
	"DieWithParent":            {DieWithParent: true},
	"DieWithParent, NNP":       {DieWithParent: true, NoNewPrivs: true},
	"DieWithParent by signal":  {DieWithParent: true, StartStopped: true},
	"DieWithParent, of a user": {DieWithParent: true, NoNewPrivs: true, UID: vspawn.Ptr(1000), GID: vspawn.Ptr(1000)},
}

// A child of DieWithParent dies with its parent, whatever that does: whether another
// program beside it goes on, with a descriptor of the child (Pidfd) too, or the parent has
// let go of the child (Close).
func TestDieWithParent(t *testing.T) {
	once(t)
	helper.SkipEmulated(t, "subreaper")
	for name, attr := range dying {
		for _, how := range []string{"", "close", "beside", "pidfd", "exec"} {
			t.Run(strings.TrimSpace(name+" "+how), func(t *testing.T) {
				if attr.UID != nil {
					needCapability(t, unix.CAP_SETUID, "become another")
				}
				dieWithParent(t, name, how, 0)
			})
		}
	}
}

// What the program does can't undo it where it is bound to the pidfd. Else it can, as the
// documentation says.
func TestDieWithParentUndone(t *testing.T) {
	once(t)
	helper.SkipEmulated(t, "subreaper")
	dieWithParent(t, "DieWithParent, NNP", "", unix.PR_SET_PDEATHSIG)
}

// dieWithParent has a puppet be the child of a process that is killed. With a prctl option
// the puppet sets that to 0 before.
func dieWithParent(t *testing.T, name, how string, option int) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	puppet := tiny.New(t)
	cmd := diesHelper.Command(append([]string{name, how}, tiny.Argv(t)...)...)
	cmd.Path = program(cmd.Args)
	cmd.ExtraFiles = []*os.File{puppet.Child}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said [20]byte
	n, err := out.Read(said[:])
	pid, numErr := strconv.Atoi(strings.TrimSpace(string(said[:n])))
	if err != nil || numErr != nil {
		t.Errorf("the helper says %q: %v", said[:n], err)
	}
	if option != 0 {
		call := tiny.Call{Nr: unix.SYS_PRCTL, Args: []any{option, 0, 0, 0, 0}}
		if err := errors.Join(puppet.Do(&call), call.Err()); err != nil {
			t.Error(err)
		}
	}
	getpid := tiny.Call{Nr: unix.SYS_GETPID}
	if err := puppet.Do(&getpid); err != nil || getpid.Result != pid {
		t.Errorf("the child is not there while its parent is: pid %d, want %d, %v", getpid.Result, pid, err)
	}
	if how == "exec" { // it becomes another program
		io.WriteString(in, "go\n")
	} else {
		cmd.Process.Kill()
	}
	if option != 0 && !autokill(t) {
		cmd.Wait()
		if err := puppet.Do(&getpid); err != nil {
			t.Error("the child has ended, though it has cleared the signal: ", err)
		}
		puppet.Close()
		endOrphans(t, false)
		return
	}
	puppet.Child.Close()
	if err := endOfPuppet(puppet, &getpid); err != nil {
		t.Error(err)
	}
	in.Close()
	cmd.Wait()
	if left := endOrphans(t, true); how != "beside" && how != "pidfd" && left != 0 {
		t.Errorf("%d processes are left", left)
	}
}

// endOfPuppet waits until a puppet is dead, as the end of its channel tells.
func endOfPuppet(p *tiny.Puppet, call *tiny.Call) error {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if err := p.Do(call); err != nil {
			return nil
		}
		if time.Now().After(end) {
			return errors.New("the child outlives its parent")
		}
	}
}

// diesHelper has a child that dies with it, and says its pid.
var diesHelper = helper.New("dies", func(args []string) int {
	attr, how, argv := dying[args[0]], args[1], args[2:]
	unix.CloseOnExec(3) // a puppet's channel
	attr.Files = []vspawn.File{{Child: 2, Parent: vspawn.FD(2)}, {Child: tiny.FD, Parent: vspawn.FD(3)}}
	var p *vspawn.Process
	var err error
	started := make(chan bool)
	go func() { // not the first, which may be locked to the thread that goes on in another program
		defer close(started)
		p, err = vspawn.Start(noContext, argv[0], argv, &attr)
	}()
	<-started
	if err == nil && attr.StartStopped {
		err = p.Signal(unix.SIGCONT)
	}
	if err == nil && how == "close" {
		err = p.Close()
	}
	if err == nil && (how == "beside" || how == "pidfd") { // os/exec's child is a program by then, and lives on
		beside := waitHelper.Command()
		beside.Stdin = os.Stdin
		if fd, err := p.Pidfd(); err == nil && how == "pidfd" { // else there are none
			beside.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "pidfd")}
		}
		err = beside.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	unix.Close(3)
	fmt.Println(p.Pid())
	os.Stdin.Read(make([]byte, 1))
	if how == "exec" {
		argv := waitHelper.Argv()
		fmt.Fprintln(os.Stderr, unix.Exec(program(argv), argv, os.Environ()))
	}
	return 1
}, waitHelper)

// A goroutine that is locked to its thread can start one, too, that outlives the thread, or
// is told that it can't.
func TestDieWithParentOfLockedThread(t *testing.T) {
	helper.SkipEmulated(t, "thread that ends with its goroutine")
	puppet := tiny.New(t)
	argv := tiny.Argv(t)
	var p *vspawn.Process
	var err error
	done := make(chan int)
	go onSecondThread(func() {
		runtime.LockOSThread() // once more than it is unlocked, so the thread ends
		p, err = vspawn.Start(noContext, argv[0], argv, &vspawn.Attr{DieWithParent: true, NoNewPrivs: true,
			Files: []vspawn.File{{Child: 2, Parent: vspawn.FD(2)}, {Child: tiny.FD, Parent: puppet.Child}}})
		done <- unix.Gettid()
	})
	tid := <-done
	if !autokill(t) {
		var e *vspawn.Error
		if !errors.As(err, &e) || e.Field != "DieWithParent" || e.Err != errors.ErrUnsupported || e.Hint == "" {
			t.Errorf("got %v, which is not what there is to say", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for stat("self/task/"+strconv.Itoa(tid)).state != "" {
		time.Sleep(time.Millisecond)
	}
	if err := puppet.Do(&tiny.Call{Nr: unix.SYS_GETPID}); err != nil {
		t.Error("the child has died with the thread: ", err)
	}
	puppet.Child.Close()
	puppet.Close()
	endsBy(t, p, "exit status 0")
}
