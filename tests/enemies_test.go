//go:build linux

package tests

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// An enemy is a process that signals another's children on their way: of the child's
// new user, or of the parent's own.
type enemy struct {
	name, does string                      // does as in foe
	other      bool                        // it is the child's new user
	ends       func(s syscall.Signal) bool // by which a child may end then
}

var enemies = []enemy{
	{"every signal", "signal", false, func(syscall.Signal) bool { return true }},
	{"every signal, from the new user", "signal", true, func(syscall.Signal) bool { return true }},
	{"killed", "kill", false, isKill},
	{"killed by the new user", "kill", true, isKill},
	{"stopped and continued", "stop", false, nothing},
	{"stopped and continued by the new user", "stop", true, nothing},
	{"stopped for ever", "hold", false, isKill},
	{"stopped for ever by the new user", "hold", true, isKill},
}

func nothing(syscall.Signal) bool { return false }

func isKill(s syscall.Signal) bool { return s == unix.SIGKILL }

// Children get signals from others at any moment of their way: no start hangs beyond its
// context, and what it says, or the child's state, is what has happened: it has
// ended by itself, or was killed by that which was sent. Nothing is left. TestAttack has
// those who want the memory.
func TestEnemies(t *testing.T) {
	once(t)
	helper.SkipEmulated(t, "memory shared by vfork, nor ptrace")
	for i, e := range enemies {
		t.Run(e.name, func(t *testing.T) {
			user := os.Getuid()
			if e.other {
				needCapability(t, unix.CAP_SETUID, "become another")
				helper.MakeReachable()
				user = nobody
			}
			rounds := helper.Rounds(100)
			if e.does == "hold" { // most of them wait for their context
				rounds /= 4
			}
			s := newSoaking(t, e.does, user)
			s.run(preyHelper.Command(strconv.Itoa(i), strconv.Itoa(rounds), tiny.Exit(t, 3)))
			s.log()
			f := s.figures
			touched := f["foe-killed"] + f["foe-child-stops"]
			switch {
			case f["exited"] == 0 || touched == 0:
				t.Error("nothing was tried")
			case f["starts"] != f["exited"]+f["killed"]+f["held"]+f["lost"]:
				t.Errorf("of %d starts %d are accounted for", f["starts"], f["exited"]+f["killed"]+f["held"]+f["lost"])
			case e.does != "hold" && f["killed"]+f["lost"] > f["foe-killed"]:
				t.Errorf("%d children were killed, and the foe has signalled %d", f["killed"]+f["lost"], f["foe-killed"])
			case e.does != "stop" && f["killed"]+f["held"]+f["lost"] == 0:
				t.Errorf("the foe has signalled %d children, and nothing has come of it", touched)
			}
		})
	}
}

// A prey starts children beside an enemy.
type prey struct {
	enemy                              *enemy
	path                               string
	starts, exited, killed, held, lost atomic.Int64
	wrong                              atomic.Int64
	hang                               *time.Timer
}

// preyHelper's arguments are the enemy, how many children to start of each kind at
// least, and a program that ends with status 3.
var preyHelper = helper.New("prey", func(args []string) int {
	i, err1 := strconv.Atoi(args[0])
	rounds, err2 := strconv.Atoi(args[1])
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	p := &prey{enemy: &enemies[i], path: args[2]}
	kinds := p.kinds()
	lines := bufio.NewScanner(os.Stdin)
	fmt.Println("storm")
	lines.Scan()
	var enough atomic.Bool
	go func() {
		for lines.Scan() && lines.Text() != "enough" {
		}
		enough.Store(true)
		for lines.Scan() {
		}
		os.Exit(1) // nobody is there any more
	}()
	p.hang = time.AfterFunc(patience, func() {
		fmt.Println("fail: it hangs")
		stacks := make([]byte, 1<<16)
		os.Stderr.Write(stacks[:runtime.Stack(stacks, true)])
		os.Exit(1)
	})
	for n := 0; n < rounds || !enough.Load() || p.exited.Load() == 0; n++ {
		p.once(&kinds[rand.IntN(len(kinds))])
	}
	p.hang.Stop()
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil); err != unix.ECHILD {
		p.fail("a child is left: waitid answers %v", err)
	}
	fmt.Printf("figures: starts=%d exited=%d killed=%d held=%d lost=%d wrong=%d\n", p.starts.Load(), p.exited.Load(),
		p.killed.Load(), p.held.Load(), p.lost.Load(), p.wrong.Load())
	return int(min(p.wrong.Load(), 1))
})

func (p *prey) fail(format string, args ...any) {
	p.wrong.Add(1)
	fmt.Println("fail:", fmt.Sprintf(format, args...))
}

// kinds are those of its children that can be had. All take a while to their exec, of
// which some is behind the change of credentials, and some behind the mask.
func (p *prey) kinds() []vspawn.Attr {
	pause := instant(500 * time.Microsecond)
	var slow []vspawn.Syscall
	for _, place := range []string{"Cgroup", "Dir", "Pdeathsig", "Seccomp"} {
		slow = append(slow, vspawn.Syscall{Before: place, Name: "clock_nanosleep", Nr: unix.SYS_CLOCK_NANOSLEEP,
			Args: [6]uintptr{unix.CLOCK_MONOTONIC, 0, pause}, Tolerate: true})
	}
	all := []vspawn.Attr{{}, {Pdeathsig: unix.SIGKILL}, {StartStopped: true}, {Ptrace: true},
		{DieWithParent: true, NoNewPrivs: true}}
	maps := vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: ownID(os.Getuid()), GIDMap: ownID(os.Getgid())}
	if !p.enemy.other {
		_, err := vspawn.Start(noContext, "/no/such/program", nil, &maps)
		if errors.Is(err, unix.ENOENT) { // else there are no user namespaces
			all = append(all, maps)
		}
	} else {
		for i := range all {
			all[i].UID, all[i].GID = vspawn.Ptr(nobody), vspawn.Ptr(nobody)
		}
	}
	for i := range all {
		all[i].Syscalls = slow
	}
	return all
}

// once starts a child and sees it to its end.
func (p *prey) once(attr *vspawn.Attr) {
	p.hang.Reset(patience)
	p.starts.Add(1)
	if attr.Ptrace {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	limit := patience / 2
	if p.enemy.does == "hold" {
		limit = 100 * time.Millisecond
		if p.exited.Load() == 0 { // it may be too short for this machine
			limit <<= min(p.starts.Load()/10, 6)
		}
	}
	ctx, cancel := context.WithTimeoutCause(noContext, limit, errEnough)
	c, err := vspawn.Start(ctx, p.path, nil, attr)
	cancel()
	switch {
	case err == nil:
		p.end(c, attr)
	case errors.Is(err, errEnough) && p.enemy.does == "hold":
		p.held.Add(1)
	case attr.StartStopped && errors.Is(err, unix.ESRCH) && slices.Contains([]string{"kill", "signal"}, p.enemy.does):
		p.lost.Add(1)
	default:
		p.fail("%+v: %v", *attr, err)
	}
}

// end waits for a child, and ends one that is held.
func (p *prey) end(c *vspawn.Process, attr *vspawn.Attr) {
	if attr.Ptrace {
		c.WaitFor(noContext, vspawn.Stopped|vspawn.Exited)
		unix.PtraceDetach(c.Pid()) // one that was killed can't be let go
	}
	var s *vspawn.State
	for s == nil {
		if attr.StartStopped || attr.Ptrace {
			c.Signal(unix.SIGCONT)
		}
		ctx, cancel := context.WithTimeoutCause(noContext, 50*time.Millisecond, errEnough)
		var err error
		s, err = c.Wait(ctx)
		cancel()
		if err != nil && !errors.Is(err, errEnough) {
			p.fail("%+v: waiting: %v", *attr, err)
			return
		}
		if s == nil && p.enemy.does == "hold" {
			c.Kill()
		}
	}
	switch {
	case s.Exited() && s.ExitCode() == 3:
		p.exited.Add(1)
	case s.Signaled() && p.enemy.ends(s.Signal()):
		p.killed.Add(1)
	default:
		p.fail("%+v: it ended by %v", *attr, s)
	}
}
