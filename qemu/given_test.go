package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/usage"
)

// fakeImage writes a kernel image that has the right looks.
func fakeImage(t *testing.T, target Target) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "vmlinuz")
	m := target.Magic[0]
	if err := os.WriteFile(file, append(make([]byte, m.Offset), m.Bytes...), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestGiven(t *testing.T) {
	for _, target := range Targets {
		file := fakeImage(t, target)
		if _, err := GivenKernel(target, GivenFiles{Kernel: file}); err != nil {
			t.Errorf("%s: %v", target.Name, err)
		}
		for _, other := range Targets {
			// The images of one architecture look alike, with an MMU or without.
			if _, err := GivenKernel(other, GivenFiles{Kernel: file}); err == nil && other.GOARCH != target.GOARCH {
				t.Errorf("%s takes the kernel of %s", other.Name, target.Name)
			}
		}
	}
	module := filepath.Join(t.TempDir(), "x.ko")
	if err := os.WriteFile(module, []byte("\x7fELF"), 0o644); err != nil {
		t.Fatal(err)
	}
	image := fakeImage(t, Targets[0])
	k, err := GivenKernel(Targets[0], GivenFiles{Kernel: image, Modules: []string{module, module}})
	if err != nil || len(k.Modules) != 2 {
		t.Errorf("%+v, %v", k, err)
	}
	if files := moduleFiles(k.Modules); files[0].Path != "/rig/modules/00-x.ko" || files[1].Path != "/rig/modules/01-x.ko" {
		t.Errorf("%+v", files)
	}
	for _, g := range []GivenFiles{{Kernel: "/nowhere/vmlinuz"}, {Kernel: image, Modules: []string{"/nowhere/x.ko"}},
		{Kernel: image, Modules: []string{image}}, {Modules: []string{module}}} {
		_, err := GivenKernel(Targets[0], g)
		if !usage.Is(err) || !strings.Contains(err.Error(), g.Kernel) && !strings.Contains(err.Error(), g.Modules[0]) {
			t.Errorf("%+v: %v", g, err)
		}
	}
}
