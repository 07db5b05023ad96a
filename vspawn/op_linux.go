package vspawn

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/asm"
)

// An op is one system call of the child's, as a Plan knows it: what it is for,
// and arguments of which some have a value only in a running Program.
type op struct {
	call
	kind   opKind
	field  string // of Attr
	args   []arg
	flags  uintptr // asm.Tolerate, asm.Expect
	want   arg     // under asm.Expect
	out    arg     // where the result goes
	object any     // what it is applied to, for errors; nil takes the arguments

	explain func(*Error) // puts into an error what is known of it: a hint, or another cause
}

type opKind uint8

const (
	opCall             opKind = iota
	opUnshareFiles            // close_range that also unshares the table; nothing if it isn't shared
	opCloseRange              // closes a range; on old kernels as many calls as it takes
	opExecFD                  // execveat of a descriptor
	opKeep                    // dup3 to a spare number, which it may have already if nobody holds that
	opResetHandlers           // nothing, or an rt_sigaction for each caught signal
	opScheduler               // with the parent's nice value
	opLowerOOMScoreAdj        // if the plan's is below the parent's
	opRaiseOOMScoreAdj        // if it is not
	opClosePeer               // close, if the child asks its parent
	opParent                  // getppid; a question if the child is in another PID namespace
	opDeathSignal             // prctl, unless the child is bound to its pidfd
	opNofile                  // prlimit64 with the limit that the runtime has raised, if it has
)

// An arg is an argument of an op.
type arg struct {
	kind argKind
	val  uintptr
	show any // printed instead of val: a string for a name, or what val points to
}

// A quotedString is a string that val points to.
type quotedString string

type argKind uint8

const (
	argConst     argKind = iota // val
	argWord                     // address of the Program's word val
	argInt32                    // the same, of its low half as an int
	argMask                     // address of the parent's own signal mask
	argSync                     // the child's end of the socket by which it asks its parent
	argPeer                     // the parent's end of it
	argTop                      // val, or above the socket if that lies higher
	argNext                     // address of the next step's first argument
	argResult                   // that argument: the step before stores it
	argSource                   // the parent's descriptor val, or a low copy of it
	argSpare                    // the spare number val, or what the parent holds in its place
	argSparePath                // address of its name below /proc
	argSpareRule                // address of the pathRule in show, with it
	argNofile                   // val, of a step that is left out if the runtime's limit is not the one in force
)

// Words of a Program.
const (
	wordSync = iota
	wordPgid
	wordPolls  // a pollfd of argSync, and behind it
	wordParent // one of the parent's pidfd
)

// Those of numbers that are not the caller's, or were checked: for others there are
// c.int, c.flags and c.fd.
func dec(v int32) arg                 { return arg{val: uintptr(v)} }
func oct(v uint32) arg                { return arg{val: uintptr(v), show: "0" + strconv.FormatUint(uint64(v), 8)} }
func size(n int) arg                  { return arg{val: uintptr(n)} } // of what another argument points to
func name(text string, v uintptr) arg { return arg{val: v, show: text} }
func sig(s syscall.Signal) arg        { return name(signalName(s), uintptr(s)) }
func signed(v int32) arg              { return arg{val: uintptr(v), show: itoa(int(v))} }

func hex(v uintptr) string { return "0x" + strconv.FormatUint(uint64(v), 16) }
func itoa(v int) string    { return strconv.Itoa(v) }

func (a arg) String() string {
	switch a.kind {
	case argWord, argInt32:
		if a.show != nil {
			break
		}
		return "&word" + itoa(int(a.val))
	case argMask:
		return "[inherited]"
	case argSync:
		return "sync"
	case argPeer:
		return "peer"
	case argResult:
		return "result"
	}
	switch v := a.show.(type) {
	case nil:
		return strconv.FormatUint(uint64(a.val), 10)
	case string:
		return v
	case quotedString:
		return strconv.Quote(string(v))
	case []string:
		q := make([]string, len(v))
		for i, s := range v {
			q[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(q, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}

// String prints the op as strace prints a system call.
func (o *op) String() string {
	if o.kind == opResetHandlers {
		return "" // CLONE_CLEAR_SIGHAND does it
	}
	s := o.name + "(" + o.arguments() + ")"
	if o.flags&asm.Expect != 0 {
		s += " = " + o.want.String()
	}
	if o.flags&asm.Tolerate != 0 {
		s += " /* may fail */"
	}
	switch o.kind {
	case opLowerOOMScoreAdj:
		s += " /* if that is less than the parent's */"
	case opRaiseOOMScoreAdj:
		s += " /* if it is not */"
	case opDeathSignal:
		s += " /* or CLONE_PIDFD_AUTOKILL */"
	}
	return s
}

func (o *op) arguments() string {
	args := make([]string, len(o.args))
	for i, a := range o.args {
		args[i] = a.String()
	}
	return strings.Join(args, ", ")
}

// objectText is what an error says the op was applied to.
func (o *op) objectText() string {
	switch v := o.object.(type) {
	case nil:
		return "(" + o.arguments() + ")"
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

// The kernel's struct sigaction on all architectures here is handler, flags,
// then on some a restorer, and the mask; all zero but for the handler.
const (
	sigactionWords = 4
	sigsetSize     = 8

	sigDfl = 0
	sigIgn = 1
)

func sigaction(c *compiler, field string, s syscall.Signal, handler uint64, text string) op {
	act := make([]uint64, sigactionWords)
	act[0] = handler
	return op{field: field, call: sysRtSigaction, object: signalName(s),
		args: []arg{sig(s), name(text, c.mem.words64(act)), name("NULL", 0), dec(sigsetSize)}}
}

func signalName(s syscall.Signal) string {
	if n := unix.SignalName(s); n != "" {
		return n
	}
	return "SIG" + itoa(int(s))
}

func signalSetText(list []syscall.Signal) string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = strings.TrimPrefix(signalName(s), "SIG")
	}
	return "[" + strings.Join(names, " ") + "]"
}
