//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hugelgupf/vmtest/guest"
	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// loadModules loads what the kernel needs for the event port and does not hold
// itself, in the order of the files' names. One that is there already is as good.
func loadModules(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("loading the kernel's module %s: %w (is it this kernel's?)", filepath.Base(file), err)
		}
	}
	return nil
}

// openPort waits for the event port: the kernel learns its name from QEMU while PID 1
// already runs. Where there is none it says why.
func openPort() (*guest.Emitter[wire.Record], error) {
	said := false
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		path, err := guest.VirtioSerialDevice(wire.Port)
		if err == nil {
			// Opening would create a plain file if the node weren't there yet.
			if fi, err := os.Stat(path); err == nil && fi.Mode()&os.ModeCharDevice != 0 {
				return guest.EventChannel[wire.Record](path)
			}
		}
		if said || time.Since(start) < wire.Patience {
			continue
		}
		why, final := noPort("/sys")
		if final {
			return nil, errors.New(noPortText(why))
		}
		// It may be that the machine is slow, so the host's own limit decides.
		fmt.Fprintln(os.Stderr, "guest: "+noPortText(why+"; waiting on"))
		said = true
	}
}

func noPortText(why string) string { return wire.NoPort[len("guest: "):] + why }

// noPort tells what of a virtio port is missing below sys, and whether waiting is
// in vain.
func noPort(sys string) (why string, final bool) {
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(sys, name))
		return err == nil
	}
	devices, _ := filepath.Glob(filepath.Join(sys, "bus/virtio/devices/*"))
	switch {
	case !exists("bus/virtio"):
		return "the kernel has no virtio (CONFIG_VIRTIO, or the module virtio)", true
	case !exists("bus/virtio/drivers/virtio_console"):
		return "the kernel has no driver for virtio consoles (CONFIG_VIRTIO_CONSOLE, or the module virtio_console)", true
	case len(devices) == 0:
		return "the kernel finds no virtio device (CONFIG_VIRTIO_PCI or CONFIG_VIRTIO_MMIO, or the modules of that name)", true
	}
	return fmt.Sprintf("of %d virtio devices none has a port called %s", len(devices), wire.Port), false
}
