package vspawn

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// release is the kernel's version. Zeros, for one that says none, are older
// than any.
var release = sync.OnceValue(func() (r [2]int) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &r[0], &r[1])
	}
	return r
})

func releaseAtLeast(major, minor int) bool {
	r := release()
	return r[0] > major || r[0] == major && r[1] >= minor
}
