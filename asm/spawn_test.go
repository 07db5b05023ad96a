//go:build linux

package asm_test

import (
	"encoding/binary"
	"io"
	"math"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
	"github.com/vspawn/vspawn/internal/testkit/asmtest"
	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/tiny"
)

func TestMain(m *testing.M) { helper.Main(m) }

// spawn runs p and returns the child's wait status.
func spawn(t *testing.T, p *asmtest.Program) unix.WaitStatus {
	t.Helper()
	_, ws, err := p.Run()
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

var (
	getpid  = asm.Step{Nr: unix.SYS_GETPID}
	failing = asm.Step{Nr: unix.SYS_CLOSE, Args: [6]uintptr{^uintptr(0)}} // EBADF
)

// getppid fails unless we are the parent.
func getppid() asm.Step {
	return asm.Step{Nr: unix.SYS_GETPPID, Flags: asm.Expect, Want: uintptr(os.Getpid())}
}

// checkFailed checks that step i of p failed and returned result. No memory is
// shared under qemu-user, so there is nothing to see there.
func checkFailed(t *testing.T, p *asmtest.Program, i int, result uintptr) {
	t.Helper()
	helper.SkipEmulated(t, "memory shared by vfork")
	if p.Entered != 1 {
		t.Errorf("Entered = %d, want 1", p.Entered)
	}
	if want := asmtest.Addr(&p.List[i]); p.Failed != want || p.At != want {
		t.Errorf("Failed = %#x, At = %#x, want the address of step %d, %#x", p.Failed, p.At, i, want)
	}
	if p.Result != result {
		t.Errorf("Result = %d, want %d", int(p.Result), int(result))
	}
}

func TestExec(t *testing.T) {
	asmtest.EachClone(t, func(t *testing.T, create asmtest.Create) {
		p := asmtest.New(create, getpid, asm.Step{})
		p.List[1] = p.Execve(helper.Emulate(tiny.Exit(t, 7)))
		asmtest.CheckExit(t, spawn(t, p), 7)
		if p.Failed != 0 {
			t.Errorf("Failed = %#x, want 0", p.Failed)
		}
		helper.SkipEmulated(t, "memory shared by vfork")
		if want := asmtest.Addr(&p.List[1]); p.Entered != 1 || p.At != want {
			t.Errorf("Entered = %d, At = %#x, want 1 and the last step's address, %#x", p.Entered, p.At, want)
		}
	})
}

func TestCreateFails(t *testing.T) {
	p := asmtest.New(asmtest.Clone, asmtest.Exit(0))
	p.Create.Args[0] = unix.CLONE_SIGHAND | uintptr(unix.SIGCHLD) // not without CLONE_VM
	if r := asm.Spawn(&p.Program); r != asmtest.Errno(unix.EINVAL) {
		t.Errorf("Spawn = %d, want -EINVAL", int(r))
	}
	if p.Entered != 0 {
		t.Errorf("Entered = %d, want 0", p.Entered)
	}
}

func TestStepFails(t *testing.T) {
	asmtest.EachClone(t, func(t *testing.T, create asmtest.Create) {
		p := asmtest.New(create, getpid, failing, asmtest.Exit(0))
		asmtest.CheckExit(t, spawn(t, p), 127)
		checkFailed(t, p, 1, asmtest.Errno(unix.EBADF))
	})
}

// A failed child ends, whatever a filter of system calls refuses it: by exit, by
// a signal of its own, and by an instruction that does not exist.
func TestExitRefused(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	// Before Linux 5.16 a dump of core would take us along.
	was, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	defer unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(was), 0, 0, 0)
	for _, c := range []struct {
		name   string
		refuse []uint32
		end    func(ws unix.WaitStatus) bool
	}{
		{"exit_group", []uint32{unix.SYS_EXIT_GROUP},
			func(ws unix.WaitStatus) bool { return ws.Exited() && ws.ExitStatus() == 127 }},
		{"exit too", []uint32{unix.SYS_EXIT_GROUP, unix.SYS_EXIT},
			func(ws unix.WaitStatus) bool { return ws.Signaled() && ws.Signal() == unix.SIGKILL }},
		{"getpid too", []uint32{unix.SYS_EXIT_GROUP, unix.SYS_EXIT, unix.SYS_GETPID}, illegal},
		{"all", []uint32{unix.SYS_EXIT_GROUP, unix.SYS_EXIT, unix.SYS_TGKILL}, illegal},
	} {
		t.Run(c.name, func(t *testing.T) {
			filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}}
			for _, nr := range c.refuse {
				filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
					unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
			}
			filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
			prog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
			onHeap = prog
			p := asmtest.New(asmtest.Clone,
				asm.Step{Nr: unix.SYS_PRCTL, Args: [6]uintptr{unix.PR_SET_NO_NEW_PRIVS, 1}},
				asm.Step{Nr: unix.SYS_SECCOMP, Args: [6]uintptr{unix.SECCOMP_SET_MODE_FILTER, 0, asmtest.Addr(prog)}},
				failing)
			ws := spawn(t, p)
			if !c.end(ws) {
				t.Errorf("wait status %#x", ws)
			}
			checkFailed(t, p, 2, asmtest.Errno(unix.EBADF))
		})
	}
}

var onHeap any

// illegal tells whether the instruction that does not exist has ended a child:
// a break point, on arm64.
func illegal(ws unix.WaitStatus) bool {
	return ws.Signaled() && (ws.Signal() == unix.SIGILL || ws.Signal() == unix.SIGTRAP)
}

// The results that mean an error are -4095 to -1, and no others. /proc/self/mem
// can be sought to any offset, so there lseek answers whatever we like.
func TestErrorRange(t *testing.T) {
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for _, c := range []struct{ result, status int }{
		{math.MinInt, 0}, {-4096, 0}, {-4095, 127}, {-1, 127}, {0, 0}, {math.MaxInt, 0},
	} {
		t.Run(strconv.Itoa(c.result), func(t *testing.T) {
			seek := asm.Step{Nr: unix.SYS_LSEEK, Args: [6]uintptr{mem.Fd(), uintptr(c.result), io.SeekStart}}
			asmtest.CheckExit(t, spawn(t, asmtest.New(asmtest.Clone, seek, asmtest.Exit(0))), c.status)
		})
	}
}

func TestTolerate(t *testing.T) {
	tolerated := failing
	tolerated.Flags = asm.Tolerate
	unwanted := getpid
	unwanted.Flags, unwanted.Want = asm.Tolerate|asm.Expect, 0
	p := asmtest.New(asmtest.Clone, tolerated, unwanted, asmtest.Exit(3))
	asmtest.CheckExit(t, spawn(t, p), 3)
	if p.Failed != 0 {
		t.Errorf("Failed = %#x, want 0", p.Failed)
	}
}

func TestExpect(t *testing.T) {
	t.Run("met", func(t *testing.T) {
		asmtest.CheckExit(t, spawn(t, asmtest.New(asmtest.Clone, getppid(), asmtest.Exit(3))), 3)
	})
	t.Run("unmet", func(t *testing.T) {
		wrong := getppid()
		wrong.Want++
		p := asmtest.New(asmtest.Clone, getppid(), wrong, asmtest.Exit(3))
		asmtest.CheckExit(t, spawn(t, p), 127)
		checkFailed(t, p, 1, uintptr(os.Getpid()))
	})
	t.Run("error", func(t *testing.T) {
		wrong := failing
		wrong.Flags = asm.Expect
		p := asmtest.New(asmtest.Clone, wrong, asmtest.Exit(3))
		asmtest.CheckExit(t, spawn(t, p), 127)
		checkFailed(t, p, 0, asmtest.Errno(unix.EBADF))
	})
}

// pipe is closed with the test.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// A step's result becomes an argument of a later step; a failed one's does not.
func TestOut(t *testing.T) {
	r, w := pipe(t)
	word := new(uint64)
	*word = 0x0123456789abcdef
	p := asmtest.New(asmtest.Clone,
		asm.Step{Nr: unix.SYS_DUP, Args: [6]uintptr{w.Fd()}},
		failing,
		asmtest.Write(^uintptr(0), word),
		asmtest.Exit(0))
	p.List[0].Out = asmtest.Addr(&p.List[2].Args[0])
	p.List[1].Out = p.List[0].Out
	p.List[1].Flags = asm.Tolerate
	asmtest.CheckExit(t, spawn(t, p), 0)
	runtime.KeepAlive(word)
	w.Close()
	got := make([]byte, 16)
	if n, err := r.Read(got); err != nil || n != 8 || got[0] != 0xef || got[7] != 0x01 {
		t.Errorf("the child wrote % x, %v, want ef cd ab 89 67 45 23 01", got[:n], err)
	}
}

// Report runs after a failure, when Failed and Result are set, so that a pipe
// can take them where memory is not shared.
func TestReport(t *testing.T) {
	r, w := pipe(t)
	p := asmtest.New(asmtest.Clone, getpid, failing, asmtest.Exit(0))
	p.Report = asmtest.Write(w.Fd(), &p.Failed)
	p.Report.Args[2] *= 2 // and Result after it
	asmtest.CheckExit(t, spawn(t, p), 127)
	w.Close()
	var report [2]uint64
	if err := binary.Read(r, binary.NativeEndian, &report); err != nil {
		t.Fatal("the report: ", err)
	}
	if report[0] != uint64(asmtest.Addr(&p.List[1])) || report[1] != uint64(asmtest.Errno(unix.EBADF)) {
		t.Errorf("the report is %#x, want step 1 at %#x and -EBADF", report, asmtest.Addr(&p.List[1]))
	}
}

// All signals are blocked in the child, and in the parent none that was not.
func TestSignalMask(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	asmtest.EachClone(t, func(t *testing.T, create asmtest.Create) {
		var before, after unix.Sigset_t
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, &unix.Sigset_t{}, &before); err != nil {
			t.Fatal(err)
		}
		p := asmtest.New(create, asm.Step{}, asmtest.Exit(0))
		p.List[0] = asm.Step{Nr: unix.SYS_RT_SIGPROCMASK, Args: [6]uintptr{unix.SIG_BLOCK, 0, asmtest.Addr(&p.Words[0]), 8}}
		asmtest.CheckExit(t, spawn(t, p), 0)
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, &unix.Sigset_t{}, &after); err != nil {
			t.Fatal(err)
		}
		if before != after {
			t.Errorf("the parent's mask was %x and is %x", before.Val, after.Val)
		}
		helper.SkipEmulated(t, "memory shared by vfork")
		const unblockable = 1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1)
		if got := p.Words[0] | unblockable; got != ^uintptr(0) {
			t.Errorf("the child's mask is %x, want all signals", got)
		}
	})
}

// While a child is slow to exec its parent's thread alone waits: with one P
// the other goroutines run, and so does the collector.
func TestOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	r, w := pipe(t)
	fds := &[1]unix.PollFd{{Fd: int32(r.Fd()), Events: unix.POLLIN}}
	patience := &unix.Timespec{Sec: 60}
	p := asmtest.New(asmtest.Clone,
		asm.Step{Nr: unix.SYS_PPOLL, Args: [6]uintptr{asmtest.Addr(&fds[0]), 1, asmtest.Addr(patience)},
			Flags: asm.Expect, Want: 1},
		asmtest.Exit(0))
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.GC()
		w.Write([]byte("x"))
	})
	asmtest.CheckExit(t, spawn(t, p), 0)
	wg.Wait()
	runtime.KeepAlive(fds)
	runtime.KeepAlive(patience)
}
