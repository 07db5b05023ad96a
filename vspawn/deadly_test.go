//go:build linux

package vspawn

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// coreSignals are those that dump core by default.
var coreSignals = []syscall.Signal{unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS,
	unix.SIGFPE, unix.SIGSEGV, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGSYS}

// A deadly is a start whose child is to die of a signal that dumps core, which
// it does between clone and exec.
type deadly struct {
	name   string
	path   string // of the program, if not one that ends at once
	attr   *Attr
	gate   *gate // in its way
	failed bool  // a step fails first, so that Start says no more of the end
	root   bool  // for root, who asks for it by name
}

// deadlies are ways to die: a signal from outside at each step, a filter that
// kills at each, one that refuses the ways out, limits.
func deadlies() []deadly {
	var list []deadly
	add := func(d deadly) { list = append(list, d) }

	for _, a := range attributes {
		add(deadly{name: "SIGQUIT before " + a.field, gate: &gate{a.field, unix.SIGQUIT, 0}})
	}
	for _, s := range coreSignals {
		add(deadly{name: unix.SignalName(s) + " when the mask is lifted", gate: &gate{"", s, 0}})
		add(deadly{name: unix.SignalName(s) + " behind the mask", gate: &gate{"Seccomp", s, 0}})
	}
	for i := range 20 { // on its way into an exec that fails
		add(deadly{name: fmt.Sprintf("SIGQUIT about the exec, %d", i), path: "/no/such", failed: true,
			gate: &gate{"Seccomp", unix.SIGQUIT, 1 + 50*i}})
	}

	add(deadly{name: otherUser, attr: &Attr{UID: Ptr(65534), GID: Ptr(65534)}, gate: &gate{"Seccomp", unix.SIGQUIT, 0}, root: true})

	rich := func() *Attr {
		return &Attr{Setsid: true, Umask: Ptr(0), Nice: Ptr(19), TimerSlack: time.Millisecond, Dir: "/", Env: []string{},
			NoNewPrivs: true, Pdeathsig: unix.SIGKILL, Files: []File{{Child: 0, Path: os.DevNull}, {Child: 1, Parent: FD(2)}, {Child: 2, Parent: FD(2)}},
			Rlimits: []Rlimit{{Resource: unix.RLIMIT_CORE}}, SignalMask: []syscall.Signal{}}
	}
	for _, nr := range calls(rich()) {
		for _, action := range []struct {
			name string
			ret  uint32
		}{{"kills", unix.SECCOMP_RET_KILL_PROCESS}, {"kills the thread", unix.SECCOMP_RET_KILL_THREAD}, {"traps", unix.SECCOMP_RET_TRAP}} {
			attr := rich()
			attr.Syscalls = filterFrom("Cgroup", filter(action.ret, nr))
			add(deadly{name: fmt.Sprintf("a filter that %s at call %d", action.name, nr), attr: attr})
		}
	}
	for _, ret := range []uint32{unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_TRAP} {
		add(deadly{name: "a filter that ends it at execve", attr: &Attr{NoNewPrivs: true, Seccomp: filter(ret, unix.SYS_EXECVE)}})
		add(deadly{name: "a filter that ends it at its exit", path: "/no/such", failed: true,
			attr: &Attr{NoNewPrivs: true, Seccomp: filter(ret, unix.SYS_EXIT_GROUP)}})
	}
	exits := []uint32{unix.SYS_EXIT_GROUP, unix.SYS_EXIT, unix.SYS_TGKILL, unix.SYS_GETPID}
	for i := range exits {
		add(deadly{name: fmt.Sprintf("a filter that refuses %d ways out", i+1), path: "/no/such", failed: true,
			attr: &Attr{NoNewPrivs: true, Seccomp: filter(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM), exits[:i+1]...)}})
	}

	zero, err := unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	const size, times = 1 << 16, 1024
	// struct iovec, the same memory again and again
	vector := slices.Repeat([]uint64{uint64(scratch.bytes(make([]byte, size))), size}, times)
	long := Syscall{Before: "Seccomp", Name: "readv", Nr: unix.SYS_READV,
		Args: [6]uintptr{uintptr(zero), scratch.words64(vector), times}, Tolerate: true}
	add(deadly{name: "RLIMIT_CPU", attr: &Attr{Rlimits: []Rlimit{{Resource: unix.RLIMIT_CPU, Soft: 1, Hard: 60}},
		Syscalls: slices.Repeat([]Syscall{long}, 3000)}})
	add(deadly{name: realTimeLimit, root: true, attr: &Attr{Scheduler: &Scheduler{Policy: unix.SCHED_FIFO, Priority: 1},
		Rlimits: []Rlimit{{Resource: unix.RLIMIT_RTTIME, Soft: 1000, Hard: 60e6}}, Syscalls: slices.Repeat([]Syscall{long}, 3000)}})
	file, err := os.CreateTemp("", "limited")
	if err != nil {
		panic(err)
	}
	os.Remove(file.Name())
	limited, err := unix.Dup(int(file.Fd())) // which the collector does not close
	if err != nil {
		panic(err)
	}
	for _, before := range []string{"Groups", "Seccomp"} {
		add(deadly{name: "RLIMIT_FSIZE before " + before, attr: &Attr{Rlimits: []Rlimit{{Resource: unix.RLIMIT_FSIZE}},
			Syscalls: []Syscall{{Before: before, Name: "write", Nr: unix.SYS_WRITE, Args: [6]uintptr{uintptr(limited), scratch.words64([]uint64{0}), 1}, Tolerate: true}}}})
	}
	return list
}

// scratch is never freed, and keeps what the children read.
var scratch memory

// A gate holds a child up before a field's place. There it is sent a signal;
// with a delay, measured in system calls, it is let go on before.
type gate struct {
	before string
	signal syscall.Signal
	delay  int
}

// put gives the system calls for the child. meet waits for it there, and lets
// it go on.
func (g *gate) put() (list []Syscall, meet func()) {
	hereR, hereW := pipe()
	goR, goW := pipe()
	b := scratch.words64([]uint64{0})
	return []Syscall{
			{Before: g.before, Name: "write", Nr: unix.SYS_WRITE, Args: [6]uintptr{hereW.Fd(), b, 1}},
			{Before: g.before, Name: "read", Nr: unix.SYS_READ, Args: [6]uintptr{goR.Fd(), b, 1}},
		}, func() {
			hereR.Read(make([]byte, 1))
			pids := ownChildren()
			for _, pid := range pids {
				if g.delay == 0 {
					unix.Kill(pid, g.signal)
				}
			}
			goW.Write([]byte{0})
			if g.delay > 0 {
				for range g.delay {
					unix.Getppid()
				}
				for _, pid := range pids {
					unix.Kill(pid, g.signal)
				}
			}
			for _, f := range []*os.File{hereR, hereW, goR, goW} {
				f.Close()
			}
		}
}

func pipe() (r, w *os.File) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		panic(err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
}

// ownChildren are the children of all our threads.
func ownChildren() (pids []int) {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, thread := range threads {
		b, _ := os.ReadFile("/proc/self/task/" + thread.Name() + "/children")
		for _, word := range strings.Fields(string(b)) {
			var pid int
			fmt.Sscan(word, &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// calls are the numbers of the calls that a child makes, each once.
func calls(attr *Attr) (list []uint32) {
	attr.Syscalls = []Syscall{{Nr: unix.SYS_GETPPID}} // as there will be, which makes a difference
	plan, err := Compile("/", nil, attr)
	if err != nil {
		panic(err)
	}
	f, err := probe()
	if err != nil {
		panic(err)
	}
	l, err := plan.load(f)
	if err != nil {
		panic(err)
	}
	for _, s := range l.steps {
		if !slices.Contains(list, uint32(s.Nr)) {
			list = append(list, uint32(s.Nr))
		}
	}
	return list
}

// filter lets all pass but some calls.
func filter(ret uint32, calls ...uint32) []BPF {
	f := []BPF{{Op: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}}
	for _, nr := range calls {
		f = append(f, BPF{Op: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
			BPF{Op: unix.BPF_RET | unix.BPF_K, K: ret})
	}
	return append(f, BPF{Op: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
}

// filterFrom has the child put a filter on itself early.
func filterFrom(before string, f []BPF) []Syscall {
	var code []byte
	for _, i := range f {
		code = native.AppendUint16(code, i.Op)
		code = append(code, i.Jt, i.Jf)
		code = native.AppendUint32(code, i.K)
	}
	return []Syscall{
		{Before: before, Name: "prctl", Nr: unix.SYS_PRCTL, Args: [6]uintptr{unix.PR_SET_NO_NEW_PRIVS, 1}},
		{Before: before, Name: "seccomp", Nr: unix.SYS_SECCOMP, Args: [6]uintptr{unix.SECCOMP_SET_MODE_FILTER, 0, scratch.prog(len(f), scratch.bytes(code))}},
	}
}
