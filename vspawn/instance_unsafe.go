//go:build linux

package vspawn

import (
	"io"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/vspawn/vspawn/asm"
)

// lowHalf is where in a word its low 32 bits lie.
var lowHalf = func() uintptr {
	one := uintptr(1)
	if *(*byte)(unsafe.Pointer(&one)) == 1 {
		return 0
	}
	return unsafe.Sizeof(one) - 4
}()

// reportSize is that of Failed and Result, which lie beside each other.
const reportSize = 2 * unsafe.Sizeof(uintptr(0))

// readReport takes what a child wrote that shares no memory. It tells whether it has
// learned what there was.
func (in *instance) readReport(r *os.File) bool {
	var b [reportSize]byte
	n, err := r.Read(b[:])
	if n == len(b) {
		in.prog.Failed = *(*uintptr)(unsafe.Pointer(&b[0]))
		in.prog.Result = *(*uintptr)(unsafe.Pointer(&b[reportSize/2]))
	}
	return n == len(b) || err == io.EOF
}

// at is the op that a step's address belongs to.
func (in *instance) at(step uintptr) *op {
	i := int((step - in.prog.Steps) / unsafe.Sizeof(asm.Step{}))
	if in.command != nil && i == len(in.ops)-1 {
		return in.command.op()
	}
	return in.ops[i]
}

// pid is the child's, as soon as it exists. The kernel stores it before the
// child runs, and the pidfd before that.
func (in *instance) pid() int { return int(atomic.LoadInt32(&in.prog.Pid)) }
