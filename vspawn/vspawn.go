// Package vspawn starts processes on Linux by vfork, never by fork.
//
//	p, err := vspawn.Start(ctx, "/bin/ls", []string{"ls", "-l"}, &vspawn.Attr{Dir: "/"})
//	if err != nil {
//		return err // the child did not become the program
//	}
//	state, err := p.Wait(ctx)
//	if err == nil && !state.Success() {
//		err = fmt.Errorf("ls: %v", state)
//	}
//
// Who comes from [os/exec], for which package vspawn/exec is a drop-in, finds
// things that are not as they are there:
//
//   - PATH is not searched: exec.LookPath does that. The first argument is the
//     program's own name. A relative path is relative to Dir.
//   - The context of Start ends with the exec: it can kill a child that is not the
//     program yet, and no other. That of Wait ends the wait alone. Kill kills
//     the child; KillTree kills what it has started as well.
//   - A child that exits with another status than 0, or is killed, is no error of
//     Wait: its State says so.
//   - A child has its parent's standard input, output and error, unless Files has
//     others, and no other descriptor, close-on-exec or not, but what Files gives it.
//     Nothing is copied to an io.Writer: that takes a pipe.
//   - The environment is passed on as it is: of a variable that is there twice the
//     program sees both, and PWD is not set with Dir.
//   - Someone has to call Wait, or Close: no finalizer does it. [Run] starts, waits, and kills
//     when its context ends, as CommandContext has it.
//
// What a child can be given is in [Attr]. [Compile] turns it into a [Plan],
// which can be printed, and started many times from many goroutines. A failed
// start is an [*Error] that names the system call that failed in the child; input
// that makes no sense is an [*AttrError], before there is one.
//
// The parent's memory is shared with the child, not copied, until the child
// execs; so a start costs the same from a small program and from one with a
// heap of many gigabytes, and works on kernels without an MMU, where fork
// cannot exist. Only the calling thread waits for the exec; other goroutines
// and the garbage collector go on.
//
// It needs Linux, on one of the architectures that the README lists; elsewhere it
// compiles and Start answers an error. It is tested on Linux 5.10, 6.1, 6.12 and
// 7.2; older kernels, stood in for by filters, get what they can offer: see
// [Features].
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

// Run compiles a plan and runs it: see [Compile] and [Plan.Run].
func Run(ctx context.Context, path string, argv []string, attr *Attr) (*State, error) {
	plan, err := Compile(path, argv, attr)
	if err != nil {
		return nil, err
	}
	return plan.Run(ctx)
}
