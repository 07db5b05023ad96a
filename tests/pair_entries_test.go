//go:build linux

package tests

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/tiny"
	"github.com/vspawn/vspawn/vspawn"
)

// plain is an entry's attr that needs nothing of the stage.
func plain(a vspawn.Attr) func(*pairStage) vspawn.Attr {
	return func(*pairStage) vspawn.Attr { return a }
}

// call has the child make a system call.
func (p *pairStage) call(nr int, args ...any) (result int) {
	c := &tiny.Call{Nr: nr, Args: args}
	if err := p.puppet.Do(c); err != nil {
		p.t.Error(err)
	}
	return c.Result
}

// tty is a terminal, for one child: it is of no use for others once that has ended.
func (p *pairStage) tty() vspawn.Attr {
	if p.terminal == 0 {
		ptmx, tty, err := openTerminal()
		if err != nil {
			p.t.Fatal(err)
		}
		p.terminal = tty
		p.cleanups = append(p.cleanups, func() { unix.Close(ptmx); unix.Close(tty) })
	}
	tty := vspawn.FD(p.terminal)
	return vspawn.Attr{Setsid: true, TTY: tty, ControllingTTY: true, Files: []vspawn.File{{Child: pairTTY, Parent: tty}}}
}

// foreground is the foreground group of the child's terminal, or an error.
func (p *pairStage) foreground() int {
	var group int32
	if r := p.call(unix.SYS_IOCTL, pairTTY, unix.TIOCGPGRP, bytesOf(&group)); r < 0 {
		return r
	}
	return int(group)
}

// inUserNamespace has ids that mean something there.
func (p *pairStage) inUserNamespace() vspawn.Attr {
	if p.lacks["root"] != "" {
		return vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: ownID(os.Getuid()), GIDMap: ownID(os.Getgid())}
	}
	ids := []vspawn.IDMap{{Inside: 0, Outside: 0, Size: 3000}}
	return vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: ids, GIDMap: ids, AllowSetgroups: true}
}

// idMap is what the maps of inUserNamespace look like.
func (p *pairStage) idMap(id int) string {
	if p.lacks["root"] != "" {
		return fmt.Sprintf("0 %d 1", id)
	}
	return "0 0 3000"
}

// someGroup is the only one of a child that KeepGroups is about.
const someGroup = 7

var pairEntries = slices.Concat(descriptorPairs, processPairs, privilegePairs, namespacePairs)

// descriptorPairs are about descriptors and directories.
var descriptorPairs = []pairEntry{
	{field: "Env", attr: plain(vspawn.Attr{Env: []string{"A=1", "A=2"}}),
		check: func(_ *pairStage, s *state) bool { return slices.Equal(s.Env, []string{"A=1", "A=2"}) }},
	{field: "Dir", attr: plain(vspawn.Attr{Dir: "/proc"}), // which all roots have
		check: func(_ *pairStage, s *state) bool { return s.Dir == "/proc" }},
	{field: "DirFD", attr: func(p *pairStage) vspawn.Attr { return vspawn.Attr{DirFD: vspawn.FD(p.dirFD)} },
		check: func(p *pairStage, s *state) bool { return s.Cwd == inodeOf(p.dirFD) && s.Files[p.dirFD] == inode{} }},
	{field: "ExecFD", attr: func(p *pairStage) vspawn.Attr { return vspawn.Attr{ExecFD: vspawn.FD(p.program)} },
		check: func(p *pairStage, s *state) bool {
			b := batch{do: p.puppet.Do}
			exe := b.inode(pairProc, "self/exe")
			b.run()
			return exe() == inodeOf(p.program) && s.Files[p.program] == inode{}
		}},
	{field: "Files", attr: func(p *pairStage) vspawn.Attr {
		return vspawn.Attr{Files: []vspawn.File{{Child: pairFile, Parent: vspawn.FD(p.dirFD)}}}
	}, check: func(p *pairStage, s *state) bool { return s.Files[pairFile] == inodeOf(p.dirFD) }},
	{field: "InheritFiles", attr: plain(vspawn.Attr{InheritFiles: true}),
		check: func(_ *pairStage, s *state) bool { return s.Files[pairInherited] == inodeOf(pairInherited) }},
	{field: "CloseRanges", attr: plain(vspawn.Attr{InheritFiles: true, CloseRanges: []vspawn.Range{{First: pairRanged, Last: pairRanged}}}),
		check: func(_ *pairStage, s *state) bool {
			return s.Files[pairRanged] == inode{} && s.Files[pairInherited] != inode{}
		}},
	{field: "Setsid", attr: plain(vspawn.Attr{Setsid: true}), check: func(_ *pairStage, s *state) bool { return s.Sid == s.Pid }},
	{field: "Pgid", attr: plain(vspawn.Attr{Pgid: vspawn.Ptr(0)}), check: func(_ *pairStage, s *state) bool { return s.Pgid == s.Pid }},
	{field: "TTY", attr: (*pairStage).tty, check: func(p *pairStage, s *state) bool { return p.foreground() > 0 }},
	{field: "ControllingTTY", attr: (*pairStage).tty,
		check: func(p *pairStage, s *state) bool {
			return p.call(unix.SYS_IOCTL, pairTTY, unix.TIOCGSID, make([]byte, 4)) == 0
		}},
	{field: "Foreground", alike: "the kernel makes a session leader's group the foreground group of its terminal", attr: func(p *pairStage) vspawn.Attr {
		a := p.tty()
		a.Foreground = true
		return a
	}, check: func(p *pairStage, s *state) bool { return p.foreground() == s.Pgid }},
	{field: "Umask", attr: plain(vspawn.Attr{Umask: vspawn.Ptr(0o137)}), check: func(_ *pairStage, s *state) bool { return s.Umask == 0o137 }},
	{field: "Chroot", needs: "a root", attr: func(p *pairStage) vspawn.Attr { return vspawn.Attr{Chroot: p.root} },
		check: func(p *pairStage, s *state) bool { return s.Root == statInode(p.t, p.root) }},
}

// processPairs are about what is in /proc/PID/status and /proc/PID/sched.
var processPairs = []pairEntry{
	{field: "Rlimits", attr: plain(vspawn.Attr{Rlimits: []vspawn.Rlimit{{Resource: unix.RLIMIT_CPU, Soft: 9999, Hard: 9999}}}),
		check: func(_ *pairStage, s *state) bool {
			return s.Limits[unix.RLIMIT_CPU] == unix.Rlimit{Cur: 9999, Max: 9999}
		}},
	{field: "Nice", attr: plain(vspawn.Attr{Nice: vspawn.Ptr(19)}), check: func(_ *pairStage, s *state) bool { return s.Scheduling.Nice == 19 }},
	{field: "IOPriority", attr: plain(vspawn.Attr{IOPriority: &vspawn.IOPriority{Class: 2, Level: 6}}),
		check: func(_ *pairStage, s *state) bool { return s.Scheduling.IOPriority == 2<<13|6 }},
	{field: "Scheduler", attr: plain(vspawn.Attr{Scheduler: &vspawn.Scheduler{Policy: unix.SCHED_BATCH}}),
		check: func(_ *pairStage, s *state) bool { return s.Scheduling.Attr.Policy == unix.SCHED_BATCH }},
	{field: "Affinity", needs: "other CPUs", attr: func(p *pairStage) vspawn.Attr { return vspawn.Attr{Affinity: []int{p.cpu}} },
		check: func(p *pairStage, s *state) bool {
			return s.Scheduling.Affinity.Count() == 1 && s.Scheduling.Affinity.IsSet(p.cpu)
		}},
	{field: "CoreSched", needs: "core scheduling", attr: plain(vspawn.Attr{CoreSched: true}),
		check: func(p *pairStage, s *state) bool { return s.Scheduling.Cookie != 0 }},
	{field: "TimerSlack", attr: plain(vspawn.Attr{TimerSlack: 123 * time.Microsecond}),
		check: func(_ *pairStage, s *state) bool { return s.Scheduling.TimerSlack == 123_000 }},
	{field: "OOMScoreAdj", attr: plain(vspawn.Attr{OOMScoreAdj: vspawn.Ptr(1000)}), check: func(_ *pairStage, s *state) bool { return s.OOMScoreAdj == "1000" }},
	{field: "Personality", attr: plain(vspawn.Attr{Personality: vspawn.Ptr[uintptr](vspawn.SHORT_INODE)}),
		check: func(_ *pairStage, s *state) bool { return s.Personality&^addrNoRandomize == vspawn.SHORT_INODE }},
	{field: "NewKeyring", needs: "keys", attr: plain(vspawn.Attr{NewKeyring: true}),
		check: func(p *pairStage, s *state) bool { return s.Keyring > 0 && s.Keyring != p.own.Keyring }},
	{field: "SignalMask", attr: plain(vspawn.Attr{SignalMask: []syscall.Signal{unix.SIGUSR1}}),
		check: func(_ *pairStage, s *state) bool { return s.Mask == setOf(unix.SIGUSR1) }},
	{field: "DefaultSignals", attr: plain(vspawn.Attr{DefaultSignals: []syscall.Signal{unix.SIGUSR2}}), // which is ignored here
		check: func(_ *pairStage, s *state) bool { return !has(s.Ignored, unix.SIGUSR2) }},
	{field: "IgnoreSignals", attr: plain(vspawn.Attr{IgnoreSignals: []syscall.Signal{unix.SIGALRM}}),
		check: func(_ *pairStage, s *state) bool { return has(s.Ignored, unix.SIGALRM) }},
	{field: "Pdeathsig", attr: plain(vspawn.Attr{Pdeathsig: unix.SIGTERM}), check: func(_ *pairStage, s *state) bool { return s.Pdeathsig == int(unix.SIGTERM) }},
	{field: "DieWithParent", attr: plain(vspawn.Attr{DieWithParent: true}), alike: "bound to its pidfd it has nothing of its own that tells",
		check: func(p *pairStage, s *state) bool { return s.Pdeathsig == int(unix.SIGKILL) || autokill(p.t) }},
	{field: "Cgroup", needs: "a cgroup", attr: func(p *pairStage) vspawn.Attr { return vspawn.Attr{Cgroup: p.cgroup} },
		check: func(p *pairStage, s *state) bool { return strings.Contains(" "+s.Cgroup+" ", " 0::"+p.group+" ") }},
	{field: "Ptrace", attr: plain(vspawn.Attr{Ptrace: true}), check: always, alike: "awake sees it", awake: func(c *vspawn.Process) error {
		if err := stoppedBy(c, unix.SIGTRAP); err != nil {
			return err
		}
		return unix.PtraceDetach(c.Pid())
	}},
	{field: "StartStopped", attr: plain(vspawn.Attr{StartStopped: true}), check: always, alike: "awake sees it", awake: func(c *vspawn.Process) error {
		return errors.Join(stoppedBy(c, unix.SIGSTOP), c.Signal(unix.SIGCONT))
	}},
	{field: "Syscalls", attr: func(p *pairStage) vspawn.Attr {
		limit := &unix.Rlimit{Cur: 4096, Max: 4096}
		return vspawn.Attr{Syscalls: []vspawn.Syscall{{Before: "Umask", Name: "prlimit64", Nr: unix.SYS_PRLIMIT64,
			Args: [6]uintptr{0, unix.RLIMIT_MSGQUEUE, pin(p.t, limit)}}}}
	}, check: func(_ *pairStage, s *state) bool { return s.Limits[unix.RLIMIT_MSGQUEUE].Cur == 4096 }},
}

// always is for what awake has seen.
func always(*pairStage, *state) bool { return true }

// stoppedBy waits until a child is stopped.
func stoppedBy(c *vspawn.Process, want syscall.Signal) error {
	s, err := c.WaitFor(noContext, vspawn.Stopped|vspawn.Exited)
	if err == nil && (!s.Stopped() || s.Signal() != want) {
		err = fmt.Errorf("it is %v, want a stop by %v", s, want)
	}
	return err
}

// has tells whether a set of signals, as /proc/PID/status has it, has one.
func has(set string, sig syscall.Signal) bool {
	var bits uint64
	fmt.Sscanf(set, "%x", &bits)
	return bits&setOf(sig) != 0
}
