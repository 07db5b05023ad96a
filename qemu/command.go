package qemu

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// A Boot is what a machine is started with.
type Boot struct {
	Kernel    string   // path
	Initramfs string   // path
	Init      string   // program in the image that becomes PID 1; "" is /init
	Append    []string // further kernel arguments
	GDB       string   // path of the socket at which the stopped machine waits for gdb; "" is none
	Args      []string // further arguments to QEMU
}

// A device is a part of a machine, as the arguments that it brings to QEMU's command
// line.
type device []string

// commandLine is the whole line that makes a machine of devices. Whoever starts a
// QEMU, or shows how, has it from here.
func commandLine(emulator string, devices ...device) []string {
	return slices.Concat(append([]device{{emulator, "-nographic"}}, devices...)...)
}

// Command is the command line that boots b with its console on the standard
// streams; Ctrl-A X leaves it.
func (t Target) Command(b Boot) []string {
	return commandLine(t.QEMU, t.board(), serial("mon:stdio"), debugger(b.GDB), t.software(b), b.Args)
}

// testCommand boots b with an event port, which writes to this file of QEMU's. QEMU
// ends with this process, however that ends, but not by the signal that a terminal
// sends to all: it is this process that says why.
func (t Target) testCommand(b Boot, port int) []string {
	return slices.Concat(
		[]string{"setsid", "setpriv", "--pdeathsig", "KILL"},
		commandLine(t.QEMU, serial("stdio"), t.board(), eventPort(t.Serial, port), debugger(b.GDB), t.software(b), b.Args),
	)
}

// board is the machine itself, as the target's row has it.
func (t Target) board() device {
	return append(device{
		"-machine", t.Machine,
		"-cpu", t.CPU,
		"-smp", strconv.Itoa(t.CPUs),
		"-m", fmt.Sprintf("%dM", t.MemoryMB),
		"-accel", t.Accel,
		"-nodefaults",
		"-no-reboot",
	}, t.Args...)
}

// serial is the line of the console, on one of QEMU's character devices.
func serial(to string) device { return device{"-serial", to} }

// eventPort is the port that carries the records, on a controller of this kind.
func eventPort(controller string, file int) device {
	return device{
		"-device", controller,
		"-chardev", fmt.Sprintf("file,id=events,path=/proc/self/fd/%d", file),
		"-device", "virtserialport,chardev=events,name=" + wire.Port,
	}
}

// debugger stops the machine before its first instruction, until a gdb comes to the
// socket and says otherwise.
func debugger(socket string) device {
	if socket == "" {
		return nil
	}
	path := strings.ReplaceAll(socket, ",", ",,") // as QEMU's options want it
	return device{"-S", "-gdb", "unix:" + path + ",server=on,wait=off"}
}

// software is what the machine boots.
func (t Target) software(b Boot) device {
	return device{"-kernel", b.Kernel, "-append", strings.Join(t.kernelArgs(b), " "), "-initrd", b.Initramfs}
}

// kernelArgs is the kernel's command line. With -no-reboot, panic=-1 makes
// QEMU end on a panic, where it would stay forever. The emulation is slow at two
// things that no test is about: setting a timer anew, which a Go program does a
// thousand times a second if timers are precise, or at each tick if ticks can stop,
// and the detours by which a kernel keeps a processor from guessing. Without them
// the tests take half the time.
func (t Target) kernelArgs(b Boot) []string {
	args := []string{"console=" + t.Console, "panic=-1", "quiet", "highres=off", "nohz=off", "mitigations=off"}
	if b.GDB != "" {
		args = append(args, "nokaslr") // or no symbol of the kernel is where its file has it
	}
	if b.Init != "" {
		args = append(args, "rdinit="+b.Init)
	}
	return slices.Concat(args, t.Append, b.Append)
}
