// Package exec is the standard library's os/exec on top of vspawn: a program
// moves over by a change of its import, and then starts its commands by vfork.
//
// The API is that of [os/exec], in the standard's own types wherever it has
// them, so that errors.As and the fields Process and ProcessState mean the
// same for both packages. See there for what is not documented here. Beyond
// it there is [Cmd].Attr, for all that os/exec can't give to a child.
//
//	cmd := exec.CommandContext(ctx, "sort", "-u")
//	cmd.Stdin, cmd.Stdout = in, out
//	cmd.Attr = &vspawn.Attr{Setsid: true, Nice: vspawn.Ptr(10)}
//	err := cmd.Run()
//
// What differs where vspawn starts programs, on Linux and the architectures that
// its README lists:
//
//   - Wait holds no thread while the command runs.
//   - A context that ends while the command is still on its way to exec kills
//     it, and Start returns.
//   - SysProcAttr.Pdeathsig means the process, not the thread that called
//     Start, unless the goroutine is locked to it.
//   - SysProcAttr.Chroot without Dir starts the command in "/" of the new root.
//   - With an Attr, be it empty, the command inherits no descriptors but those that
//     it is given, and the errors of Start say more: see there.
//
// Elsewhere the package is os/exec itself, and a command with an Attr doesn't
// start. docs/exec.md has the details.
package exec

import osexec "os/exec"

// The standard's errors.
type (
	// Error is returned by LookPath when it fails to classify a file as an
	// executable.
	Error = osexec.Error

	// ExitError is returned by Wait for a command that did not succeed.
	ExitError = osexec.ExitError
)

// The standard's errors.
var (
	// ErrDot says that a name was found in the current directory alone.
	ErrDot = osexec.ErrDot

	// ErrNotFound says that a name was not found in PATH.
	ErrNotFound = osexec.ErrNotFound

	// ErrWaitDelay is returned by Wait for a command that succeeded, but
	// whose output was not complete when WaitDelay was over.
	ErrWaitDelay = osexec.ErrWaitDelay
)

// LookPath searches for an executable in the directories of PATH, as
// [osexec.LookPath] does.
func LookPath(file string) (string, error) { return osexec.LookPath(file) }
