package qemu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// A Boot is what a machine is started with.
type Boot struct {
	Kernel    string   // path
	Initramfs string   // path
	Init      string   // program in the image that becomes PID 1; "" is /init
	Append    []string // further kernel arguments
}

// maxAppend is how long the user's arguments may be: all of them together must be
// shorter than the 1024 bytes that a kernel takes on riscv.
const maxAppend = 512

// ParseAppend looks whether s can be added to a kernel's command line without
// making something else of what comes after it there.
func ParseAppend(s string) (string, error) {
	args := strings.TrimSpace(s)
	switch {
	case strings.ContainsFunc(args, unicode.IsControl):
		return "", usage.Errorf("APPEND=%q: give arguments for the kernel on one line", s)
	case len(args) > maxAppend:
		return "", usage.Errorf("APPEND=%s: %d bytes are too long for a kernel's command line: give up to %d", s, len(args), maxAppend)
	case strings.Count(args, `"`)%2 != 0:
		return "", usage.Errorf("APPEND=%s: there is no end to a quotation", s)
	case slices.Contains(strings.Fields(args), "--"):
		return "", usage.Errorf("APPEND=%s: after -- come arguments for PID 1, which takes none: leave it out", s)
	}
	return args, nil
}

// appended are the kernel's arguments of a guest that runs a part of the tests. Ours
// come last, so that they hold.
func (c *Config) appended(s Shard) []string {
	var args []string
	if c.Append != "" {
		args = append(args, c.Append)
	}
	return append(args, fmt.Sprintf("%s=%d/%d", wire.ShardEnv, s.I, s.N))
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
