//go:build linux

package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/faults"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// A faulty is a process whose calls are made to fail, as the test has it.
type faulty struct {
	setting *faultSetting
	cmd     *exec.Cmd
	died    chan error
	conn    int
	own     *state
	sup     *faults.Supervisor
	hung    atomic.Bool
	ended   bool
	bound   *tiny.Puppet // of the child under way
}

// startFaulty starts one, which ends with the test if not before.
func startFaulty(t *testing.T, setting *faultSetting) *faulty {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "faulty")
	defer theirs.Close()
	text, err := json.Marshal(setting)
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{setting: setting, cmd: faultyHelper.Command(string(text)), died: make(chan error, 1), conn: pair[0]}
	f.cmd.ExtraFiles = append([]*os.File{theirs}, setting.files...)
	f.cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1,updatemaxprocs=0", "GOTRACEBACK=all")
	// Without its supervisor it could not even end: each call would fail, exit_group too.
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if hasCapability(unix.CAP_SYS_ADMIN) {
		f.cmd.SysProcAttr.Unshareflags = unix.CLONE_NEWNS // its mounts are compared, and others may mount
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // whose end is the death that Pdeathsig is about
		defer runtime.UnlockOSThread()
		err := f.cmd.Start()
		started <- err
		if err == nil {
			f.died <- f.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		unix.Close(f.conn)
		t.Fatal(err)
	}
	t.Cleanup(func() { f.end(t) })
	theirs.Close() // or else nobody would see its end
	r, listener := f.receive(t)
	if r.Error != nil || listener < 0 {
		t.Fatalf("no listener: %v", r.Error)
	}
	f.own = r.Own
	f.sup, err = faults.Supervise(os.NewFile(uintptr(listener), "seccomp listener"), f.cmd.Process.Pid, r.Origin)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// end has the process end.
func (f *faulty) end(t *testing.T) {
	t.Helper()
	if f.ended {
		return
	}
	f.ended = true
	unix.Close(f.conn)
	if f.bound != nil {
		f.bound.Close()
	}
	timer := time.AfterFunc(faultPatience, f.kill)
	err := <-f.died
	timer.Stop()
	if f.sup != nil {
		f.sup.Close()
	}
	if err != nil {
		t.Errorf("the process ended by %v", err)
	}
}

// faultPatience is longer than anything here takes on a slow machine.
const faultPatience = 3 * time.Minute

// kill ends a process that hangs, with its stacks, and its children.
func (f *faulty) kill() {
	f.hung.Store(true)
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", f.cmd.Process.Pid))
	f.cmd.Process.Signal(unix.SIGQUIT)
	for _, l := range lists {
		for _, pid := range strings.Fields(text(l)) {
			n, _ := strconv.Atoi(pid)
			unix.Kill(n, unix.SIGKILL)
		}
	}
	time.Sleep(10 * time.Second) // for the stacks
	f.cmd.Process.Kill()
}

// ask has the process do something, and gives its answer. file is handed over.
func (f *faulty) ask(t *testing.T, do string, file *os.File) faultReply {
	t.Helper()
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	if err := unix.Sendmsg(f.conn, []byte(do), rights, nil, unix.MSG_NOSIGNAL); err != nil {
		t.Fatalf("%s: %v", do, err)
	}
	r, _ := f.receive(t)
	return r
}

func (f *faulty) receive(t *testing.T) (r faultReply, file int) {
	t.Helper()
	timer := time.AfterFunc(faultPatience, f.kill)
	defer timer.Stop()
	b, file, err := receivePacket(f.conn)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		f.end(t)
		if f.hung.Load() {
			t.Fatal("the process hangs; its stacks are above")
		}
		t.Fatalf("the process says %q: %v", b, err)
	}
	return r, file
}

// A cleanStart is one without faults: what the child says of itself, and the calls.
type cleanStart struct {
	state *state
	calls []faults.Call
}

// clean makes one.
func (f *faulty) clean(t *testing.T) cleanStart {
	t.Helper()
	s, err := f.start(t, nil)
	if err != nil {
		t.Fatalf("a start without faults: %s", err)
	}
	calls, _ := f.sup.Seen()
	f.finish(t)
	return cleanStart{s, calls}
}

// try makes a start with a fault, and checks it and what comes of it.
func (f *faulty) try(t *testing.T, fault faults.Fault, want *state, left faultLeft) {
	t.Helper()
	f.check(t, fault, want)
	f.wholeAgain(t, want)
	f.leavesNothing(t, fault, left)
}

// start starts a child.
func (f *faulty) start(t *testing.T, fault *faults.Fault) (*state, *faultError) {
	t.Helper()
	puppet := tiny.New(t)
	f.bound = puppet
	f.sup.Watch(fault)
	r := f.ask(t, "start", puppet.Child)
	puppet.Child.Close()
	if r.Error != nil {
		puppet.Close()
		return nil, r.Error
	}
	timer := time.AfterFunc(faultPatience, f.kill)
	defer timer.Stop()
	s := new(state)
	s.read(func(calls ...*tiny.Call) error {
		if err := puppet.Do(calls...); err != nil {
			f.end(t)
			t.Fatalf("the child: %v", err)
		}
		return nil
	})
	s.normalize(f.own, f.cmd.Process.Pid)
	return s, nil
}

// finish has the child end and waits for it.
func (f *faulty) finish(t *testing.T) {
	t.Helper()
	f.bound.Close()
	r := f.ask(t, "wait", nil)
	if r.Error != nil || r.State != "exit status 0" {
		t.Errorf("the child ended by %q, %v", r.State, r.Error)
	}
}

// check makes a start with a fault.
func (f *faulty) check(t *testing.T, fault faults.Fault, want *state) {
	t.Helper()
	got, err := f.start(t, &fault)
	if err != nil {
		f.checkHit(t, fault)
		checkFaultError(t, err, fault)
		return
	}
	sameState(t, got, want)
	f.bound.Close()
	r := f.ask(t, "wait", nil)
	if r.Error != nil {
		checkFaultError(t, r.Error, fault)
		r = f.ask(t, "wait", nil) // another that may do it
	}
	if r.Error != nil || r.State != "exit status 0" {
		t.Errorf("the child ended by %q, %v", r.State, r.Error)
	}
	f.checkHit(t, fault)
}

// checkHit notes a call that there was not: threads don't always do the same. All of them
// together are looked at by TestFaults.
func (f *faulty) checkHit(t *testing.T, fault faults.Fault) {
	t.Helper()
	_, hit := f.sup.Seen()
	f.setting.count.of(fault.Call, hit)
	if !hit {
		t.Logf("this time there was no %s", fault.Call)
	}
}

// wholeAgain makes two starts without faults.
func (f *faulty) wholeAgain(t *testing.T, want *state) {
	t.Helper()
	for range 2 {
		got, err := f.start(t, nil)
		if err != nil {
			t.Errorf("the next start: %s", err)
			continue
		}
		sameState(t, got, want)
		f.finish(t)
	}
}

// receivePacket takes one message, with a descriptor if one comes along, else -1.
func receivePacket(conn int) (b []byte, file int, err error) {
	b, rights := make([]byte, 128<<10), make([]byte, unix.CmsgSpace(4))
	n, rn := 0, 0
	for err = unix.EINTR; err == unix.EINTR; {
		n, rn, _, _, err = unix.Recvmsg(conn, b, rights, unix.MSG_CMSG_CLOEXEC)
	}
	if err == nil && n == 0 {
		err = errors.New("the other end is closed")
	}
	if err != nil {
		return nil, -1, err
	}
	file = -1
	if messages, err := unix.ParseSocketControlMessage(rights[:rn]); err == nil && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil {
			file = fds[0]
		}
	}
	return b[:n], file, nil
}
