//go:build linux

package tests

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
)

// The attacker tries to reach the memory of each new process.
var attacker = helper.New("attacker", func(args []string) int {
	at, err1 := strconv.ParseUint(args[0], 10, 64)
	value, err2 := strconv.ParseUint(args[1], 10, 64)
	by, err3 := strconv.Atoi(args[2])
	parent, err4 := strconv.Atoi(args[3])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		panic(err)
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(by, by, by),
		syscall.Setresuid(by, by, by)); err != nil {
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
	// Written to without a look before: the victim finds it, if it is its own. After its
	// exec the child has nothing there.
	poke(pid, at+8, 2)
	if got.Tries%4 == 0 {
		got.tryFile(pid, at, value)
	}
	if v, err := peek(pid, at); err == nil && v == value {
		got.Reads++
		if poke(pid, at+8, 2) == nil {
			got.Writes++
		}
	}
	if got.Tries%16 == 1 && unix.PtraceSeize(pid) == nil {
		if stillShares(pid, parent) {
			got.Traced++
		}
		letGo(pid)
	}
}

// tryFile tries one by its file, which another may have open before it is the program:
// what is read is the memory that it had then.
func (got *booty) tryFile(pid int, at uintptr, value uint64) {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer mem.Close()
	got.Files++
	var b [8]byte
	if n, _ := mem.ReadAt(b[:], int64(at)); n == 8 && binary.NativeEndian.Uint64(b[:]) == value {
		got.Reads++
		if n, _ := mem.WriteAt(b[:], int64(at)+8); n == 8 {
			got.Writes++
		}
	}
}

// letGo ends a trace. One that has ended meanwhile is its tracer's to reap, before
// its parent can.
func letGo(pid int) {
	unix.PtraceInterrupt(pid)
	for {
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil || !status.Stopped() ||
			unix.PtraceDetach(pid) == nil {
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
