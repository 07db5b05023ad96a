package qemu

import (
	"fmt"
	"strconv"
	"strings"
)

// A Boot is what a machine is started with.
type Boot struct {
	Kernel    string   // path
	Initramfs string   // path
	Init      string   // program in the image that becomes PID 1; "" is /init
	Append    []string // further kernel arguments
}

// machineArgs are the arguments to QEMU that make the machine.
func (t Target) machineArgs() []string {
	args := []string{
		"-machine", t.Machine,
		"-cpu", t.CPU,
		"-smp", strconv.Itoa(t.CPUs),
		"-m", fmt.Sprintf("%dM", t.MemoryMB),
		"-accel", t.Accel,
		"-nodefaults",
		"-no-reboot",
	}
	return append(args, t.Args...)
}

// kernelArgs is the kernel's command line. With -no-reboot, panic=-1 makes
// QEMU end on a panic, where it would stay forever. The emulation is slow at two
// things that no test is about: setting a timer anew, which a Go program does a
// thousand times a second if timers are precise, or at each tick if ticks can stop,
// and the detours by which a kernel keeps a processor from guessing. Without them
// the tests take half the time.
func (t Target) kernelArgs(b Boot) []string {
	args := []string{"console=" + t.Console, "panic=-1", "quiet", "highres=off", "nohz=off", "mitigations=off"}
	if b.Init != "" {
		args = append(args, "rdinit="+b.Init)
	}
	return append(args, b.Append...)
}

// Command is the command line that boots b with its console on the standard
// streams; Ctrl-A X leaves it.
func (t Target) Command(b Boot) []string {
	args := append([]string{t.QEMU, "-nographic"}, t.machineArgs()...)
	return append(args,
		"-serial", "mon:stdio",
		"-kernel", b.Kernel,
		"-append", strings.Join(t.kernelArgs(b), " "),
		"-initrd", b.Initramfs,
	)
}
