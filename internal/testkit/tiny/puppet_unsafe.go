//go:build linux

package tiny

import (
	"bytes"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// start is the address of the puppet's program in this one, where it is never
// run; 0 on a machine that has none.
var start uintptr

// endMark ends it.
var endMark = []byte{0x56, 0x55, 0x50, 0x50, 0x44, 0x4e, 0x45, 0x54}

func programCode() []byte {
	const longest = 1024
	code := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), start)), longest)
	return bytes.Clone(code[:bytes.Index(code, endMark)])
}

// Local does calls in this process, on this thread.
func Local(calls ...*Call) error {
	for _, c := range calls {
		var args [6]uintptr
		var pinner runtime.Pinner
		address := func(b []byte) uintptr {
			pinner.Pin(&b[0])
			return uintptr(unsafe.Pointer(&b[0]))
		}
		for i, arg := range c.Args {
			switch arg := arg.(type) {
			case int:
				args[i] = uintptr(arg)
			case string:
				args[i] = address(append([]byte(arg), 0))
			case []byte:
				args[i] = address(arg)
			default:
				return fmt.Errorf("argument %d of call %d is a %T", i, c.Nr, arg)
			}
		}
		r, _, errno := unix.Syscall6(uintptr(c.Nr), args[0], args[1], args[2], args[3], args[4], args[5])
		pinner.Unpin()
		c.Result = int(r)
		if errno != 0 {
			c.Result = -int(errno)
		}
	}
	return nil
}
