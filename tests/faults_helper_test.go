//go:build linux

package tests

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/faults"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// A faultSetting is what a faulty process is to start.
type faultSetting struct {
	Scenario string
	Argv     []string // the puppet's
	Dir      string   // an empty directory

	files []*os.File // its descriptors from firstFaultFile on
	count faultCount
}

// The faulty process's descriptor of the socket by which it is told what to do, and
// the first of the others that it gets.
const (
	faultConn      = 3
	firstFaultFile = 4
)

// A faultReply is what the process answers.
type faultReply struct {
	Error  *faultError
	Origin uintptr
	Own    *state    // its own, at first
	State  string    // to "wait"
	Left   faultLeft // to "left"
}

// A faultError is an error of vspawn's.
type faultError struct {
	Text  string
	Is    bool // a *vspawn.Error
	Step  string
	Hint  bool
	Errno int
}

func (e *faultError) Error() string { return e.Text }

func faultErrorOf(err error) *faultError {
	if err == nil {
		return nil
	}
	f := &faultError{Text: err.Error()}
	var e *vspawn.Error
	if f.Is = errors.As(err, &e); f.Is {
		f.Step, f.Hint = e.Step, e.Hint != ""
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		f.Errno = int(errno)
	}
	return f
}

// faultyHelper starts what a scenario says, when it is told to.
var faultyHelper = helper.New("faulty", func(args []string) int {
	var setting faultSetting
	if err := json.Unmarshal([]byte(args[0]), &setting); err != nil {
		panic(err)
	}
	debug.SetGCPercent(-1) // the collector would close what was left open
	if r, w, err := os.Pipe(); err == nil {
		r.Close() // the runtime's poller is there now, and stays
		w.Close()
	}
	unix.CloseOnExec(faultConn)
	i := slices.IndexFunc(faultScenarios, func(sc faultScenario) bool { return sc.name == setting.Scenario })
	f := &faultProcess{faultScenario: faultScenarios[i], setting: &setting}
	runtime.LockOSThread() // for a tracer; another gives up the thread again
	if !f.locked {
		runtime.UnlockOSThread()
	}
	if f.prepare != nil {
		f.prepare(&setting)
	}
	hello := faultReply{Origin: faults.Origin(), Own: ownState()}
	listener, err := faults.Listen()
	hello.Error = faultErrorOf(err)
	f.say(&hello, listener)
	unix.Close(listener)
	for {
		b, file, err := receivePacket(faultConn)
		if err != nil {
			return 0
		}
		r := f.do(string(b), file)
		f.say(&r, -1)
	}
})

// A faultProcess is the other side of a faulty.
type faultProcess struct {
	faultScenario
	setting *faultSetting
	child   *vspawn.Process
}

func (f *faultProcess) say(r *faultReply, file int) {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	var rights []byte
	if file >= 0 {
		rights = unix.UnixRights(file)
	}
	if err := unix.Sendmsg(faultConn, text, rights, nil, unix.MSG_NOSIGNAL); err != nil {
		os.Exit(0)
	}
}

func (f *faultProcess) do(what string, file int) (r faultReply) {
	switch what {
	case "start":
		r.Error = faultErrorOf(f.start(file))
	case "wait":
		faults.Mark(true)
		s, err := f.child.Wait(context.Background())
		faults.Mark(false)
		if r.Error = faultErrorOf(err); err == nil {
			r.State = s.String()
		}
	case "left":
		r.Left = leftByFault()
	}
	return r
}

// start starts the child, with the puppet's end of its channel.
func (f *faultProcess) start(puppet int) (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer unix.Close(puppet)
	attr := f.attr(f.setting)
	if attr.Files == nil {
		attr.Files = inherited()
	}
	attr.Files = append(attr.Files, vspawn.File{Child: tiny.FD, Parent: vspawn.FD(puppet)})
	faults.Mark(true)
	defer faults.Mark(false)
	return f.begin(ctx, attr)
}

// begin starts the child, and lets one go on that has been stopped.
func (f *faultProcess) begin(ctx context.Context, attr *vspawn.Attr) (err error) {
	path := f.setting.Argv[0]
	if attr.ExecFD != nil {
		path = ""
	}
	if f.child, err = vspawn.Start(ctx, path, f.setting.Argv, attr); err != nil {
		return err
	}
	faults.Mark(false) // what follows is not vspawn's
	switch {
	case attr.Ptrace:
		return unix.PtraceDetach(f.child.Pid())
	case attr.StartStopped:
		return f.child.Signal(unix.SIGCONT)
	}
	return nil
}
