package qemu

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
)

func TestParseAccel(t *testing.T) {
	for s, want := range map[string]Accel{"": AccelAuto, "auto": AccelAuto, "kvm": AccelKVM, "tcg": AccelTCG} {
		if got, err := ParseAccel(s); got != want || err != nil {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	if _, err := ParseAccel("hvf"); !usage.Is(err) || !strings.Contains(err.Error(), "hvf") {
		t.Errorf("error: %v", err)
	}
}

// kvmTrialConfig has targets of this machine's architecture and of another, and
// knows already what came of a try with KVM; the try itself needs a kernel.
func kvmTrialConfig(t *testing.T, why string) (*Config, map[string]supply.Kernel, *progress) {
	t.Helper()
	// Any file that opens will do: the answer is known already.
	was := kvmDevice
	kvmDevice = filepath.Join(t.TempDir(), "kvm")
	t.Cleanup(func() { kvmDevice = was })
	if err := os.WriteFile(kvmDevice, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	own, other := Targets[0], Targets[2]
	own.GOARCH, own.KVM = runtime.GOARCH, "machine"
	c := &Config{Targets: []Target{other, own}, Build: t.TempDir()}
	kernels := map[string]supply.Kernel{own.Title(): {SHA256: "x"}, other.Title(): {SHA256: "x"}}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(c.Build, "cache"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.keep(kvmTrial{Boot: strings.TrimSpace(string(boot)), QEMU: own.QEMU, Kernel: "x", Why: why}); err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := newProgress(null, nil)
	t.Cleanup(p.close)
	return c, kernels, p
}

// With KVM only guests of this machine's architecture change; without it none do,
// and who asked for it is told.
func TestAccelerator(t *testing.T) {
	for _, why := range []string{"", "frozen"} {
		for _, accel := range []Accel{"", AccelAuto, AccelKVM, AccelTCG} {
			c, kernels, p := kvmTrialConfig(t, why)
			c.Accel = accel
			accelerate, err := c.accelerator(t.Context(), p, kernels)
			if accel == AccelKVM && why != "" {
				// It is tried again, which needs a kernel.
				if err == nil || strings.Contains(err.Error(), why) {
					t.Errorf("%s, %q: error %v", accel, why, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s, %q: %v", accel, why, err)
				continue
			}
			other, own := accelerate(c.Targets[0]), accelerate(c.Targets[1])
			fast := why == "" && accel != AccelTCG
			if other.Accel != c.Targets[0].Accel || (own.Accel == "kvm") != fast || fast && (own.CPU != "host" || own.Machine != "machine") {
				t.Errorf("%s, %q: %s and %s", accel, why, other.Accel, own.Accel)
			}
		}
	}
	c, _, _ := kvmTrialConfig(t, "")
	c.Accel = AccelKVM
	if err := c.checkAccel(); err != nil {
		t.Error(err)
	}
	c.Targets = c.Targets[:1]
	if err := c.checkAccel(); !usage.Is(err) || !strings.Contains(err.Error(), runtime.GOARCH) {
		t.Errorf("KVM for another architecture: %v", err)
	}
	c, _, _ = kvmTrialConfig(t, "")
	c.Accel, kvmDevice = AccelKVM, "/nowhere/kvm"
	if err := c.checkAccel(); !usage.Is(err) || !strings.Contains(err.Error(), "/nowhere/kvm") {
		t.Errorf("KVM without a device: %v", err)
	}
}

// A guest that says that it is there is enough, and one that says nothing is not.
// The trial itself is the same without KVM.
func TestAccelTrial(t *testing.T) {
	target, _ := lookup(testTarget)
	kernel := testKernel(t, target)
	build, err := filepath.Abs(filepath.Join("..", "build"))
	if err != nil {
		t.Fatal(err)
	}
	c := &Config{Dir: "..", Build: build}
	trial := func(patience time.Duration, want string) {
		t.Helper()
		why, err := c.bootTrial(t.Context(), target, kernel, patience)
		if err != nil || (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%q, %v; want %q", why, err, want)
		}
	}
	trial(100*trialPatience, "")
	trial(1, "did not get to user space")
	target.CPU = "none"
	trial(100*trialPatience, "does not work")
}

// What the user adds to the kernel's command line is not tried: it may be what
// freezes a guest, and KVM would be blamed for it.
func TestAccelTrialAppend(t *testing.T) {
	c := fakeConfig(t)
	c.Append = "preempt=full"
	target, _ := lookup(testTarget)
	said := filepath.Join(t.TempDir(), "said")
	target.QEMU = filepath.Join(t.TempDir(), "emulator")
	if err := os.WriteFile(target.QEMU, []byte("#!/bin/sh\necho \"$@\" >"+said+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := c.bootTrial(t.Context(), target, supply.Kernel{Path: "kernel"}, 100*trialPatience); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(said)
	if err != nil || !strings.Contains(string(b), "-append console=") || strings.Contains(string(b), c.Append) {
		t.Errorf("the trial boots with %q, %v", b, err)
	}
}
