//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is missing first is what is said.
func TestNoPort(t *testing.T) {
	sys := t.TempDir()
	for _, c := range []struct {
		dir   string // that a kernel with more has
		want  string
		final bool
	}{
		{"", "CONFIG_VIRTIO,", true},
		{"bus/virtio/devices", "CONFIG_VIRTIO_CONSOLE", true},
		{"bus/virtio/drivers/virtio_console", "CONFIG_VIRTIO_PCI", true},
		{"bus/virtio/devices/virtio0", "none has a port", false},
	} {
		if err := os.MkdirAll(filepath.Join(sys, c.dir), 0o755); err != nil {
			t.Fatal(err)
		}
		why, final := noPort(sys)
		if !strings.Contains(why, c.want) || final != c.final {
			t.Errorf("with %q: %q, %v; want %q, %v", c.dir, why, final, c.want, c.final)
		}
	}
}

// A module that is none is an error that names it, and none at all is none.
func TestLoadModules(t *testing.T) {
	dir := t.TempDir()
	if err := loadModules(filepath.Join(dir, "none")); err != nil {
		t.Errorf("without modules: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "1-x.ko"), []byte("no module"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := loadModules(dir); err == nil || !strings.Contains(err.Error(), "1-x.ko") {
		t.Errorf("error: %v", err)
	}
}
