//go:build linux

package nofile

import "runtime"

// sysPrlimit64 is in a table of its own, since golang.org/x/sys/unix imports
// package syscall. An architecture that is not listed reads no limit.
var sysPrlimit64 = map[string]uintptr{
	"386": 340, "amd64": 302, "arm": 369, "arm64": 261, "loong64": 261,
	"mips": 4338, "mipsle": 4338, "mips64": 5297, "mips64le": 5297,
	"ppc64": 325, "ppc64le": 325, "riscv64": 261, "s390x": 334,
}[runtime.GOARCH]
