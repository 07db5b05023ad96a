//go:build linux

// Guest is PID 1 of a test image. It mounts what tests need, runs the test
// binaries of the image's plan one after the other, reports over the event
// port, and powers the machine off. If it is asked to, it gives a person a shell
// instead; there, as guest NAME [ARGUMENT]..., it becomes one of the test binaries.
//
// Only this process holds the event port: it is never passed to a child, since
// a virtio-serial port loses wake-ups when two processes use it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

func main() {
	if os.Getpid() != 1 {
		if err := runByHand(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "guest:", err)
			os.Exit(2)
		}
		return
	}
	// What it does is done one after the other, and an emulated machine is slow
	// at waking threads to look for work that there isn't.
	runtime.GOMAXPROCS(1)
	if os.Getenv(wire.HereEnv) != "" {
		fmt.Println(wire.Here)
	} else if err := run(); err != nil {
		// Nothing but the console is left to say it on; the missing closing
		// record makes the run a failure.
		fmt.Fprintln(os.Stderr, "guest:", err)
		drain(os.Stderr)
	}
	unix.Sync()
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Fprintln(os.Stderr, "guest: power off:", err)
}

func run() error {
	if err := mountAll(); err != nil {
		return err
	}
	if err := upLoopback(); err != nil {
		return err
	}
	if err := loadModules("/" + wire.ModulesDir); err != nil {
		return err
	}
	if os.Getenv(wire.ShellEnv) != "" {
		return shell()
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	a := agent{emit: port.Emit}
	if err := a.run(); err != nil {
		if err := a.send(wire.Record{Kind: wire.Broken, Status: err.Error()}); err != nil {
			return err
		}
	}
	return port.Close()
}

func readPlan() (wire.Plan, error) {
	var p wire.Plan
	b, err := os.ReadFile("/" + wire.PlanPath)
	if err != nil {
		return p, fmt.Errorf("reading the image's plan: %w", err)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("reading the image's plan /%s: %w", wire.PlanPath, err)
	}
	return p, nil
}
