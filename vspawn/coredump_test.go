//go:build linux

package vspawn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/tests/helper"
	"github.com/vspawn/vspawn/tests/tiny"
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
			NoNewPrivs: true, Pdeathsig: unix.SIGKILL, Files: []File{{Child: 0, Path: os.DevNull}, {Child: 1, Parent: 2}, {Child: 2, Parent: 2}},
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
	vector := slices.Repeat([]uint64{uint64(scratch.bytes(make([]byte, size))), size}, times) // struct iovec, the same memory again and again
	long := Syscall{Before: "Seccomp", Name: "readv", Nr: unix.SYS_READV, Args: [6]uintptr{uintptr(zero), scratch.words64(vector), times}, Tolerate: true}
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

// What only root can do.
const (
	otherUser     = "SIGQUIT to another user"
	realTimeLimit = "RLIMIT_RTTIME"
)

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
		f = append(f, BPF{Op: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1}, BPF{Op: unix.BPF_RET | unix.BPF_K, K: ret})
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

// A mother has children that die. It says of which before it does, and at last
// that it lives.
const noSuchWay = "there is no such way"

var mother = helper.New("mother", func(args []string) int {
	mode, path, only := args[0], args[1], args[2]
	if mode == "with a flag of 2" { // which comes with new credentials
		runtime.LockOSThread()
		unix.RawSyscall(unix.SYS_SETFSUID, 1, 0, 0)
		unix.RawSyscall(unix.SYS_SETFSUID, 0, 0, 0)
		if flag := dumpable.get(); flag != 2 {
			panic(flag)
		}
	}
	if mode == "with a flag of 0" {
		dumpable.set(0)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		panic(err)
	}
	found, err := probe()
	if err != nil {
		panic(err)
	}
	as := *found
	switch mode {
	case "without the answer":
		as.LoneCoreDump = true
	case "with the answer":
		as.LoneCoreDump = false // also where it is not needed
	}
	features.found.Store(&as)
	was := dumpable.get()
	met := only == ""
	for _, d := range deadlies() {
		if only != "" && d.name != only || only == "" && d.root {
			continue
		}
		met = true
		fmt.Println(d.name)
		if err := d.run(path); err != nil {
			fmt.Println(err)
			return 1
		}
		want := was
		if was == 2 && !as.LoneCoreDump {
			want = 0 // 2 can't be asked for
		}
		for end := time.Now().Add(time.Minute); dumpable.get() != want && time.Now().Before(end); {
			dumpable.hasten() // it comes when no child of another's can be on its way
			time.Sleep(time.Millisecond)
		}
		if now := dumpable.get(); now != want {
			fmt.Printf("the dumpable flag was %d, and is %d\n", was, now)
			return 1
		}
	}
	if !met {
		fmt.Println(noSuchWay)
		return 2
	}
	fmt.Println("lives")
	return 0
})

// run has a child die, and checks that it did.
func (d *deadly) run(path string) error {
	if d.path != "" {
		path = d.path
	}
	done := make(chan struct{})
	if d.gate == nil {
		close(done)
	} else {
		list, meet := d.gate.put()
		if d.attr == nil {
			d.attr = &Attr{}
		}
		d.attr.Syscalls = list
		go func() { defer close(done); meet() }()
	}
	p, err := Start(context.Background(), path, nil, d.attr)
	var failed *Error
	if errors.As(err, &failed) && d.failed {
		<-done
		return nil
	}
	if err != nil {
		return err
	}
	<-done
	s, err := p.Wait(context.Background())
	if err == nil && !(s.Signaled() && slices.Contains(coreSignals, s.Signal())) {
		return fmt.Errorf("the child ended by %v", s)
	}
	return err
}

// runMother gives how a mother ended, and what it said last.
func runMother(t *testing.T, mode, only string) (last string, end error) {
	t.Helper()
	cmd := mother.Command(mode, tiny.Exit(t, 0), only)
	out, w := pipe()
	defer out.Close()
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	said, _ := io.ReadAll(out)
	end = cmd.Wait()
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	t.Logf("%s, %s: %d lines, the last %q, end %v", mode, only, len(lines), lines[max(0, len(lines)-2):], end)
	return lines[len(lines)-1], end
}

// A child that dies by a signal that dumps core, wherever on its way, leaves
// its parent alive: on kernels before 5.16, too, where the dump takes all who
// share the memory along, unless it is not dumpable. The control shows that
// there the parent dies without that.
func TestCoreDumpSparesParent(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	for _, mode := range []string{"as found", "with the answer"} {
		t.Run(mode, func(t *testing.T) {
			if last, end := runMother(t, mode, ""); end != nil || last != "lives" {
				t.Errorf("the parent ended by %v in %q", end, last)
			}
		})
	}
	controls := []string{"SIGQUIT before Setsid", "SIGABRT behind the mask", "RLIMIT_FSIZE before Groups",
		"a filter that ends it at execve", "a filter that refuses 4 ways out", "RLIMIT_CPU"}
	t.Run(realTimeLimit, func(t *testing.T) {
		p, err := Start(t.Context(), exits(t, 0)[0], exits(t, 0), &Attr{Scheduler: &Scheduler{Policy: unix.SCHED_FIFO, Priority: 1}})
		if errors.Is(err, unix.EPERM) {
			t.Skip("no real-time policy for us: ", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Wait(t.Context())
		controls = append(controls, realTimeLimit)
		for _, mode := range []string{"as found", "with the answer"} {
			if last, end := runMother(t, mode, realTimeLimit); end != nil || last != "lives" {
				t.Errorf("%s: the parent ended by %v in %q", mode, end, last)
			}
		}
	})
	for _, only := range controls {
		t.Run("without the answer: "+only, func(t *testing.T) {
			last, end := runMother(t, "without the answer", only)
			if last == noSuchWay {
				t.Fatal(last)
			}
			if lives := end == nil && last == "lives"; lives != releaseAtLeast(5, 16) {
				t.Errorf("the parent lives: %t", lives)
			}
		})
	}
}

// So it is when fs.suid_dumpable has the kernel make memory dumpable upon a
// change of credentials, and for a parent whose own flag is 0 or 2.
func TestCoreDumpSuidDumpable(t *testing.T) {
	const sysctl = "/proc/sys/fs/suid_dumpable"
	run := func(mode, only string) {
		t.Helper()
		if last, end := runMother(t, mode, only); end != nil || last != "lives" {
			t.Errorf("the parent ended by %v in %q", end, last)
		}
	}
	helper.SkipEmulated(t, "signals that are sent to a child of vfork")
	const any = "SIGQUIT behind the mask"
	run("with a flag of 0", any)
	if os.Getenv("VSPAWN_TARGET") == "" || os.Getuid() != 0 {
		t.Skip("the rest is for root of a guest: it changes " + sysctl)
	}
	was, err := os.ReadFile(sysctl)
	if err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(sysctl, was, 0)
	for _, value := range []string{"0", "1", "2"} {
		if err := os.WriteFile(sysctl, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
		run("as found", otherUser)
		run("with the answer", otherUser)
		if value == "2" {
			run("with a flag of 2", any)
		}
	}
}

// Whose files below /proc are root's while the flag is off can still start
// children that need them, many at once: with id maps, and with OOMScoreAdj.
func TestUndumpableForOthers(t *testing.T) {
	helper.SkipEmulated(t, "namespaces")
	for _, mode := range []string{"as found", "undumpable"} {
		cmd := modest.Command(tiny.Exit(t, 0), mode)
		out, err := cmd.Output()
		if cmd.ProcessState.ExitCode() == notAllowed {
			t.Skipf("not allowed to become another user: %s", out)
		}
		if err != nil || string(out) != "" {
			t.Errorf("%s: %v: %s", mode, err, out)
		}
	}
}

const notAllowed = 42

var modest = helper.New("modest", func(args []string) int {
	if os.Geteuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(1000, 1000, 1000), syscall.Setresuid(1000, 1000, 1000)); err != nil {
			fmt.Print(err)
			return notAllowed
		}
	}
	dumpable.set(1)
	found, err := probe()
	if err != nil {
		panic(err)
	}
	as := *found
	as.LoneCoreDump = args[1] == "as found" && as.LoneCoreDump
	features.found.Store(&as)
	maps := Attr{Cloneflags: unix.CLONE_NEWUSER,
		UIDMap: []IDMap{{0, os.Getuid(), 1}}, GIDMap: []IDMap{{0, os.Getgid(), 1}}}
	root := maps
	root.UID, root.GID, root.KeepGroups = Ptr(0), Ptr(0), true
	both := maps
	both.OOMScoreAdj = Ptr(500)
	attrs := []*Attr{{}, {OOMScoreAdj: Ptr(500)}, &maps, &root, &both}
	start := func(attr *Attr) error {
		p, err := Start(context.Background(), args[0], nil, attr)
		if err == nil {
			_, err = p.Wait(context.Background())
		}
		return err
	}
	if err := start(attrs[2]); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		attrs = attrs[:2] // no user namespaces for us
	} else if err := start(&both); err != nil { // alone, with nobody to hold it up
		fmt.Println("id maps and OOMScoreAdj:", err)
	}
	// What is refused for good is not tried again: its steps would be made anew.
	plan, err := Compile(args[0], nil, &Attr{OOMScoreAdj: Ptr(-1000)})
	if err != nil {
		panic(err)
	}
	if _, err := plan.Start(context.Background()); !errors.Is(err, unix.EACCES) || plan.passing(err, &as) {
		fmt.Println("OOMScoreAdj of -1000:", err)
	}
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range 8 {
		all.Go(func() {
			for range helper.Rounds(100) {
				if err := start(attrs[i%len(attrs)]); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		fmt.Println(*err)
	}
	if dumpable.get() != 1 {
		fmt.Println("the flag is off")
	}
	return 0
})
