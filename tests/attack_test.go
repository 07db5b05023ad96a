//go:build linux

package tests

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/vspawn"
	"github.com/vspawn/vspawn/vspawn/exec"
)

// nobody is the user that children become, and their attacker is.
const nobody = 65534

// A siege is a way in which a victim starts children that others may look at.
type siege struct {
	name string
	attr *vspawn.Attr
	path string // in the place of a program that ends at once
	// same is an attacker of the victim's own user, who has fewer rights than it.
	same      bool
	credible  bool // by vspawn/exec, with a Credential
	cancelled bool
	many      bool // several goroutines
	beside    bool // os/exec is at work as well, which turns nothing on itself
	undone    bool // something keeps turning the dumpable flag on: the control
}

// lingering keeps a child on its way for a while once it is another's.
var lingering = []vspawn.Syscall{{Before: "Seccomp", Name: "clock_nanosleep", Nr: unix.SYS_CLOCK_NANOSLEEP,
	Args: [6]uintptr{unix.CLOCK_MONOTONIC, 0, instant(10 * time.Millisecond)}}}

// sieges are all of them. The control comes last.
func sieges() []siege {
	other := func() *vspawn.Attr { return &vspawn.Attr{UID: vspawn.Ptr(nobody), GID: vspawn.Ptr(nobody)} }
	session, namespace, slow := other(), other(), other()
	session.Setsid = true
	namespace.Cloneflags = unix.CLONE_NEWPID
	slow.Syscalls = lingering
	lesser := &vspawn.Attr{Capabilities: &vspawn.Capabilities{}}
	namespaced := &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER}
	ids := []vspawn.IDMap{{Inside: 0, Outside: 1000, Size: 1}}
	mapped := &vspawn.Attr{Cloneflags: unix.CLONE_NEWUSER, UIDMap: ids, GIDMap: ids}
	return []siege{
		{name: "another user", attr: other()},
		{name: "another user, slowly", attr: slow},
		{name: "another user, in a session", attr: session},
		{name: "another user, in a PID namespace", attr: namespace},
		{name: "another user, many at once", attr: other(), many: true},
		{name: "another user, failing", attr: other(), path: "/no/such/program"},
		{name: "another user, cancelled", attr: other(), cancelled: true},
		{name: "Credential", credible: true},
		{name: "another user, beside os/exec", attr: other(), beside: true},
		{name: "the same user, fewer capabilities", attr: lesser, same: true},
		{name: "the same user, a user namespace", attr: namespaced, same: true},
		{name: "the same user, id maps", attr: mapped, same: true},
		{name: "control", attr: slow, undone: true},
	}
}

// instant is the address of a struct timespec that is never freed.
func instant(d time.Duration) uintptr {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	kept = append(kept, &ts)
	return timespecAddress(&ts)
}

var kept []*unix.Timespec

// A booty is what an attacker has got.
type booty struct{ Tries, Reads, Writes, Traced int }

// No process of the user that a child becomes, nor one of the parent's user that
// may not look at the parent, reads or writes the parent's memory by way of the
// child, or traces it before it has its own. The control shows that such an
// attacker would find a way if there was one. VSPAWN_ATTACK is for how long to
// try in each way, in the place of a number of starts.
func TestAttack(t *testing.T) {
	helper.SkipEmulated(t, "memory that a child of vfork shares")
	helper.SkipNoMMU(t, "there any process can write to any memory")
	if os.Getuid() != 0 {
		t.Skip("for root: it takes several users")
	}
	program, _ := quick(t)
	for _, w := range sieges() {
		t.Run(w.name, func(t *testing.T) {
			got, starts, written := attack(t, &w, program)
			for tries := 0; w.undone && got.Reads == 0 && tries < 20; tries++ {
				// With one processor the attacker need not have had it at the right moment.
				got, starts, written = attack(t, &w, program)
			}
			t.Logf("%d starts, %+v", starts, got)
			switch {
			case got.Tries == 0 || starts == 0:
				t.Error("nothing was tried")
			case w.undone && got.Reads == 0:
				t.Error("the control's memory was not read")
			case !w.undone && (got.Reads+got.Writes+got.Traced > 0 || written):
				t.Errorf("the parent's memory was reached: %+v, written %t", got, written)
			}
		})
	}
}

// attack has a victim start children, and an attacker look at them. written tells
// whether the victim found its own memory changed.
func attack(t *testing.T, w *siege, program string) (got booty, starts int, written bool) {
	t.Helper()
	path := program
	if w.path != "" {
		path = w.path
	}
	helper.MakeReachable()
	argv := victim.Argv(w.name, path, os.Getenv("VSPAWN_ATTACK"))
	attr := &vspawn.Attr{Files: []vspawn.File{{Child: 2, Parent: vspawn.FD(2)}}}
	by := nobody
	if w.same { // a user's, with all capabilities
		own, err := strconv.ParseUint(statusField("self", "CapPrm"), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		all := vspawn.CapSet(own)
		attr.UID, attr.GID, by = vspawn.Ptr(1000), vspawn.Ptr(1000), 1000
		attr.Capabilities, attr.Ambient = &vspawn.Capabilities{Permitted: all, Effective: all, Inheritable: all}, all
	}
	inR, inW := blockingPipe(t)
	outR, outW := blockingPipe(t)
	attr.Files = append(attr.Files, vspawn.File{Child: 0, Parent: inR}, vspawn.File{Child: 1, Parent: outW})
	p, err := vspawn.Start(t.Context(), argv[0], argv, attr)
	if err != nil {
		t.Fatal(err)
	}
	inR.Close()
	outW.Close()
	lines := bufio.NewScanner(outR)
	if !lines.Scan() {
		t.Fatal("the victim says nothing")
	}
	foeOut := stopped(t, attacker.Command(append(strings.Fields(lines.Text()), strconv.Itoa(by), strconv.Itoa(p.Pid()))...))
	inW.Write([]byte("go\n"))
	for lines.Scan() {
		fmt.Sscan(lines.Text(), &starts, &written)
	}
	if s, err := p.Wait(context.Background()); err != nil || !s.Success() {
		t.Errorf("the victim ended by %v, %v", s, err)
	}
	if err := json.Unmarshal(foeOut(), &got); err != nil {
		t.Fatal(err)
	}
	return got, starts, written
}

// stopped starts an attacker, waits until it is at work, and gives a function
// that ends it and has what it says.
func stopped(t *testing.T, foe *osexec.Cmd) (end func() []byte) {
	t.Helper()
	in, err := foe.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := foe.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := foe.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal("the attacker says nothing: ", err)
	}
	return func() []byte {
		in.Close()
		said, _ := io.ReadAll(out)
		if err := foe.Wait(); err != nil {
			t.Errorf("the attacker ended by %v", err)
		}
		return said
	}
}

// The victim starts children in a way, and says where its secret is before, and
// how many it has started, and whether its memory has changed, behind it.
var victim = helper.New("victim", func(args []string) int {
	name, path, long := args[0], args[1], args[2]
	secret.read, secret.write = rand.Uint64(), 1
	fmt.Println(secretAddress(), secret.read)
	bufio.NewReader(os.Stdin).ReadString('\n')
	for _, w := range sieges() {
		if w.name == name {
			fmt.Println(w.run(path, long), secret.write != 1)
		}
	}
	return 0
})

// run starts children until there are enough.
func (w *siege) run(path, long string) (starts int64) {
	limit, end := int64(helper.Rounds(300)), time.Time{}
	if w.attr != nil && w.attr.Syscalls != nil {
		limit /= 5
	}
	if long != "" {
		d, err := time.ParseDuration(long)
		if err != nil {
			panic(err)
		}
		limit, end = 1<<62, time.Now().Add(d)
	}
	if w.undone {
		end := make(chan struct{})
		defer close(end)
		go func() {
			for {
				select {
				case <-end:
					return
				case <-time.After(time.Millisecond):
					unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
				}
			}
		}()
	}
	if w.beside {
		defer besides(path)()
	}
	workers := 1
	if w.many {
		workers = 4
	}
	var n atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for n.Add(1) <= limit && (long == "" || time.Now().Before(end)) {
				w.start(path)
			}
		})
	}
	all.Wait()
	return n.Load() - int64(workers)
}

// besides has os/exec start children of another user, one after the other, and
// between them, when none is under way, makes the process dumpable again: without
// vspawn no one could read it. Its children take a while to their exec.
func besides(path string) (end func()) {
	var over atomic.Bool
	done := make(chan struct{})
	long := make([]string, 1000)
	for i := range long {
		long[i] = strings.Repeat("x", 1000)
	}
	go func() {
		defer close(done)
		for !over.Load() {
			if err := vspawn.SetDumpable(1); err != nil {
				panic(err)
			}
			cmd := osexec.Command(path, long...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			if err := cmd.Run(); err != nil {
				panic(err)
			}
		}
	}()
	return func() {
		over.Store(true)
		<-done
	}
}

// start starts one child.
func (w *siege) start(path string) {
	ctx := context.Background()
	if w.credible {
		cmd := exec.Command(path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if err := cmd.Run(); err != nil {
			panic(err)
		}
		return
	}
	if w.cancelled {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(300))*time.Microsecond)
		defer cancel()
	}
	p, err := vspawn.Start(ctx, path, nil, w.attr)
	if err != nil {
		if !w.cancelled && !(w.path != "" && errors.Is(err, unix.ENOENT)) {
			panic(err)
		}
		return
	}
	if _, err := p.Wait(context.Background()); err != nil {
		panic(err)
	}
}

// The attacker tries to reach the memory of each new process.
var attacker = helper.New("attacker", func(args []string) int {
	at, err1 := strconv.ParseUint(args[0], 10, 64)
	value, err2 := strconv.ParseUint(args[1], 10, 64)
	by, err3 := strconv.Atoi(args[2])
	parent, err4 := strconv.Atoi(args[3])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		panic(err)
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(by, by, by), syscall.Setresuid(by, by, by)); err != nil {
		panic(err)
	}
	var over atomic.Bool
	go func() {
		io.Copy(io.Discard, os.Stdin)
		over.Store(true)
	}()
	runtime.LockOSThread() // which traces
	os.Stdout.WriteString("!")
	got := attackAll(uintptr(at), value, parent, &over)
	if err := json.NewEncoder(os.Stdout).Encode(got); err != nil {
		panic(err)
	}
	return 0
})

func attackAll(at uintptr, value uint64, parent int, over *atomic.Bool) (got booty) {
	load, err := unix.Open("/proc/loadavg", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	b := make([]byte, 128)
	children := map[int]bool{} // whether a process is the victim's child
	for !over.Load() {
		n, err := unix.Pread(load, b, 0)
		if err != nil {
			panic(err)
		}
		last, err := strconv.Atoi(string(bytes.TrimSpace(b[bytes.LastIndexByte(b[:n], ' ')+1 : n])))
		if err != nil {
			panic(err)
		}
		for pid := max(2, last-3); pid <= last+2; pid++ {
			if victims(pid, parent, children) {
				got.try(pid, at, value, parent)
			}
		}
	}
	return got
}

// victims tells whether a process is the victim's child: no other is touched.
func victims(pid, parent int, known map[int]bool) bool {
	is, ok := known[pid]
	if !ok {
		fields := statFields(pid)
		if fields == nil {
			return false // not yet
		}
		if len(known) > 100 {
			clear(known)
		}
		is = string(fields[1]) == strconv.Itoa(parent)
		known[pid] = is
	}
	return is
}

// try tries one process. After its exec its new user may look at it, but what is
// found there is not what the parent has.
func (got *booty) try(pid int, at uintptr, value uint64, parent int) {
	got.Tries++
	if v, err := peek(pid, at); err == nil && v == value {
		got.Reads++
		if poke(pid, at+8, 2) == nil {
			got.Writes++
		}
	}
	if got.Tries%16 == 0 && unix.PtraceSeize(pid) == nil {
		if stillShares(pid, parent) {
			got.Traced++
		}
		letGo(pid)
	}
}

// letGo ends a trace. One that has ended meanwhile is its tracer's to reap, before
// its parent can.
func letGo(pid int) {
	unix.PtraceInterrupt(pid)
	for {
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil || !status.Stopped() || unix.PtraceDetach(pid) == nil {
			return
		}
	}
}

// stillShares tells whether a process is parent's child and has never exec'd.
func stillShares(pid, parent int) bool {
	fields := statFields(pid)
	if fields == nil || string(fields[1]) != strconv.Itoa(parent) {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	const forkNoExec = 0x40 // PF_FORKNOEXEC
	if err != nil || flags&forkNoExec == 0 {
		return false
	}
	// One that is on its way out has no memory, and may be traced.
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	return err == nil && !bytes.HasPrefix(b, []byte("0 "))
}

// statFields are those of /proc/PID/stat behind the name, or nil.
func statFields(pid int) [][]byte {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
}
