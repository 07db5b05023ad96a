// Package vspawn starts processes on Linux by vfork, never by fork.
//
// The parent's memory is shared with the child, not copied, until the child
// execs; so a start costs the same from a small program and from one with a
// heap of many gigabytes, and works on kernels without an MMU, where fork
// cannot exist. Only the calling thread waits for the exec; other goroutines
// and the garbage collector go on.
//
//	p, err := vspawn.Start(ctx, "/bin/ls", []string{"ls", "-l"}, &vspawn.Attr{Dir: "/"})
//	if err != nil {
//		return err
//	}
//	state, err := p.Wait(ctx)
//
// What a child can be given is in [Attr]. [Compile] turns it into a [Plan],
// which can be printed, and started many times from many goroutines. A failed
// start is an [*Error] that names the system call that failed in the child.
//
// It needs Linux on amd64, arm64 or riscv64; elsewhere it compiles and Start
// answers an error. It is tested on Linux 6.12; older
// kernels, so far stood in for by filters, get what they can offer:
// see [Features].
package vspawn

import "context"

// Start compiles a plan and starts it: see [Compile] and [Plan.Start].
func Start(ctx context.Context, path string, argv []string, attr *Attr) (*Process, error) {
	plan, err := Compile(path, argv, attr)
	if err != nil {
		return nil, err
	}
	return plan.Start(ctx)
}
