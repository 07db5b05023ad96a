package qemu

import (
	"testing"

	"github.com/vspawn/vspawn/initramfs"
)

func TestSuitesForMachine(t *testing.T) {
	suites := []Suite{{Package: "./a", NoMMU: true}, {Package: "./b"}}
	if got := forMachine(suites, initramfs.Toolchain{}); len(got) != 1 || got[0].Package != "./b" {
		t.Errorf("with an MMU: %+v, want b alone", got)
	}
	if got := forMachine(suites, initramfs.Toolchain{NoMMU: true}); len(got) != 2 {
		t.Errorf("without an MMU: %+v, want both", got)
	}
	if suites[0].Package != "./a" {
		t.Error("the caller's list was changed")
	}
}
