//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

// lastPid is where the number of the next process can be chosen: proc_sys_kernel(5).
const lastPid = "/proc/sys/kernel/ns_last_pid"

// errOthers is that other processes had the numbers that were wanted.
var errOthers = errors.New("others have the number")

// canChooseNumbers is why no number can be chosen, or nil. Elsewhere than in a guest of our
// own, others would be given numbers anew that have just been free: the tests of another
// package, say, that run beside.
func canChooseNumbers() error {
	if os.Getenv("VSPAWN_TARGET") == "" {
		return errors.New("the machine is not ours alone")
	}
	text, err := os.ReadFile(lastPid)
	if err == nil {
		err = os.WriteFile(lastPid, text, 0)
	}
	return err
}

// startAs starts a program that sleeps, as the process that gets a number which another
// has had.
func startAs(pid int, argv []string) (*Process, error) {
	attr := &Attr{Pdeathsig: unix.SIGKILL}
	// The threads that the runtime may want are made before: one of them would keep the number.
	manyThreads()
	if err := startAndKill(argv, attr); err != nil {
		return nil, err
	}
	for range 100 {
		if err := os.WriteFile(lastPid, []byte(strconv.Itoa(pid-1)), 0); err != nil {
			return nil, err
		}
		p, err := Start(context.Background(), argv[0], argv, attr)
		if err != nil || p.Pid() == pid {
			return p, err
		}
		if err := killAndWait(p); err != nil {
			return nil, err
		}
	}
	return nil, errOthers
}

var manyThreads = sync.OnceFunc(helper.ManyThreads)

// holder says whose number it is: a process's or a thread's.
func holder(pid int) string {
	return fmt.Sprintf("%s, of process %s, a child of %s, %s; this is %d", statusOf(pid, "Name"), statusOf(pid, "Tgid"),
		statusOf(pid, "PPid"), statusOf(pid, "State"), os.Getpid())
}

// statusOf is a line of a status file below /proc.
func statusOf(pid int, field string) string {
	text, _ := os.ReadFile("/proc/" + itoa(pid) + "/status")
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			return strings.TrimSpace(value)
		}
	}
	return "?"
}

func startAndKill(argv []string, attr *Attr) error {
	p, err := Start(context.Background(), argv[0], argv, attr)
	if err != nil {
		return err
	}
	return killAndWait(p)
}

func killAndWait(p *Process) error {
	err := p.Kill()
	if err == nil {
		_, err = p.Wait(context.Background())
	}
	return err
}

// strangerHelper has a child with the number of its first argument until its input ends,
// and says then whether that lived so long, unharmed.
var strangerHelper = helper.New("stranger", func(args []string) int {
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return complain(err)
	}
	p, err := startAs(pid, args[1:])
	if err == errOthers {
		fmt.Println("others")
		fmt.Fprintln(os.Stderr, "the number is that of", holder(pid))
		return 0
	}
	if err != nil {
		return complain(err)
	}
	fmt.Println("there")
	io.Copy(io.Discard, os.Stdin)
	if s, err := p.Poll(); s != nil || err != nil {
		return complain(fmt.Errorf("the stranger ended by %v, %v", s, err))
	}
	if err := p.Kill(); err != nil {
		return complain(err)
	}
	if s, err := p.Wait(context.Background()); err != nil || s.Signal() != unix.SIGKILL {
		return complain(fmt.Errorf("the stranger ended by %v, %v", s, err))
	}
	return 0
})

// An heir is a process that has got the number of a child.
type heir interface {
	over(t *testing.T, script string) // checks that nothing was done to it in a script
}

// A sibling is an heir that is a child of this process, too.
type sibling struct {
	*Process
	ended bool
}

func newSibling(t *testing.T, pid int) (heir, error) {
	p, err := startAs(pid, helper.Emulate(tiny.Sleep(t)))
	if err != nil {
		return nil, err
	}
	return &sibling{Process: p}, nil
}

// ends has it end; it is not waited for yet.
func (s *sibling) ends(t *testing.T) {
	s.ended = true
	if err := s.Kill(); err != nil {
		t.Errorf("kill the sibling: %v", err)
	}
	soon(t, "the sibling's end", func() bool { return procState(s.Pid()) == 'Z' })
}

func (s *sibling) over(t *testing.T, script string) {
	if !s.ended {
		if state := procState(s.Pid()); state == 'Z' || state == 0 {
			t.Errorf("%s: the sibling is dead", script)
		}
		s.ends(t)
	}
	if state, err := s.Wait(context.Background()); err != nil || state.Signal() != unix.SIGKILL {
		t.Errorf("%s: the sibling ended by %v, %v", script, state, err)
	}
}

// A stranger is an heir that is not.
type stranger struct {
	*exec.Cmd
	input  io.Closer
	output io.Reader
}

func newStranger(t *testing.T, pid int) (heir, error) {
	s := &stranger{Cmd: strangerHelper.Command(append([]string{itoa(pid)}, helper.Emulate(tiny.Sleep(t))...)...)}
	s.Stderr = os.Stderr
	input, err := s.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.Start(); err != nil {
		return nil, err
	}
	s.input, s.output = input, output
	var b [16]byte
	n, _ := output.Read(b[:])
	if string(b[:n]) == "there\n" {
		return s, nil
	}
	input.Close()
	if err := s.Wait(); err != nil {
		return nil, err
	}
	return nil, errOthers
}

func (s *stranger) over(t *testing.T, script string) {
	s.input.Close()
	io.Copy(io.Discard, s.output)
	if err := s.Wait(); err != nil {
		t.Errorf("%s: the stranger: %v", script, err)
	}
}

// A child that the kernel reaps keeps its number for nobody: whoever has it when a
// descriptor of the child is wanted must not be taken for the child.
func TestPidfdOfHeir(t *testing.T) {
	strangerHelper.Argv() // also where this is skipped
	if err := canChooseNumbers(); err != nil {
		t.Skip("no number can be chosen (CAP_CHECKPOINT_RESTORE, CONFIG_CHECKPOINT_RESTORE): ", err)
	}
	for range 10 {
		p := startSleep(t, &Attr{DieWithParent: true})
		if err := unix.Kill(p.Pid(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if !p.autoreap {
			p.Wait(t.Context())
			t.Skip("the kernel reaps no children (CLONE_AUTOREAP, Linux 7.1)")
		}
		soon(t, "the end", func() bool { return procState(p.Pid()) == 0 })
		heir, err := newStranger(t, p.Pid())
		if err != nil && err != errOthers {
			t.Error(err)
		}
		if err == nil {
			if fd, err := p.Pidfd(); err != os.ErrProcessDone {
				t.Errorf("Pidfd gave %d, %v", fd, err)
				unix.Close(fd)
			}
			heir.over(t, "Pidfd")
		}
		if s, err := p.Wait(t.Context()); err != nil || s.Signal() != unix.SIGKILL {
			t.Errorf("it ended by %v, %v", s, err)
		}
		if err != errOthers {
			return
		}
	}
	t.Error(errOthers)
}
