package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vspawn/vspawn/initramfs"
	"github.com/vspawn/vspawn/internal/gobuild"
	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// An Accel says what runs a guest's instructions.
type Accel string

// The accelerators. With AccelAuto guests of this machine's own architecture have
// KVM if a guest was seen to work with it; "" is the same.
const (
	AccelAuto Accel = "auto"
	AccelKVM  Accel = "kvm"
	AccelTCG  Accel = "tcg"
)

// ParseAccel reads an Accel; "" is AccelAuto.
func ParseAccel(s string) (Accel, error) {
	switch a := Accel(s); a {
	case "":
		return AccelAuto, nil
	case AccelAuto, AccelKVM, AccelTCG:
		return a, nil
	}
	return "", usage.Errorf("ACCEL=%s: choose from %s, %s, %s", s, AccelAuto, AccelKVM, AccelTCG)
}

// kvmDevice is what QEMU asks for KVM. That it opens says nothing: there are machines
// where guests freeze in their first instructions.
var kvmDevice = "/dev/kvm"

// trialPatience is how long a guest may take to user space. With KVM it is a second or
// two.
const trialPatience = 10 * time.Second

// ownArch tells whether this machine's processor runs the target's code.
func (t Target) ownArch() bool { return t.GOARCH == runtime.GOARCH && t.KVM != "" }

// onKVM is the target with the host's own processor.
func (t Target) onKVM() Target {
	t.Machine, t.CPU, t.Accel = t.KVM, "host", string(AccelKVM)
	return t
}

// accelerator chooses what runs the guests, and returns a function that makes the
// targets so. It tries with the first target that could have KVM.
func (c *Config) accelerator(ctx context.Context, p *progress,
	kernels map[string]supply.Kernel) (func(Target) Target, error) {
	asIs := func(t Target) Target { return t }
	if c.Accel == AccelTCG {
		return asIs, nil
	}
	for _, t := range c.Targets {
		k, ok := kernels[t.Title()]
		if !ok || !t.ownArch() {
			continue
		}
		why := c.tryKVM(ctx, t, k)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case why == nil:
			return func(t Target) Target {
				if t.ownArch() {
					return t.onKVM()
				}
				return t
			}, nil
		case c.Accel == AccelKVM:
			return nil, usage.Errorf("ACCEL=%s: %w", AccelKVM, why)
		}
		if !errors.Is(why, os.ErrNotExist) {
			p.set(Status{Target: t.Title(), Phase: fmt.Sprintf("goes without KVM: %v", why)})
		}
		return asIs, nil
	}
	return asIs, nil
}

// checkAccel refuses KVM where it can't be, before any work is done.
func (c *Config) checkAccel() error {
	if c.Accel != AccelKVM {
		return nil
	}
	if !slices.ContainsFunc(c.Targets, Target.ownArch) {
		return usage.Errorf("ACCEL=%s: no target has this machine's architecture, %s", AccelKVM, runtime.GOARCH)
	}
	f, err := os.OpenFile(kvmDevice, os.O_RDWR, 0)
	if err != nil {
		return usage.Errorf("ACCEL=%s: %w", AccelKVM, err)
	}
	return f.Close()
}

// A kvmTrial is what came of a try. It holds while the machine is up.
type kvmTrial struct {
	Boot, QEMU, Kernel string
	Why                string // "" if it works
}

// tryKVM tells why KVM is of no use here, or nil. The answer is kept, since a guest
// that freezes takes trialPatience.
func (c *Config) tryKVM(ctx context.Context, t Target, k supply.Kernel) error {
	f, err := os.OpenFile(kvmDevice, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	f.Close()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	trial := kvmTrial{Boot: strings.TrimSpace(string(boot)), QEMU: t.QEMU, Kernel: k.SHA256}
	var kept kvmTrial
	if b, err := os.ReadFile(c.kvmFile()); err == nil && json.Unmarshal(b, &kept) == nil {
		// Who asks for KVM has a reason to try again.
		if trial.Why = kept.Why; trial == kept && (c.Accel != AccelKVM || kept.Why == "") {
			return kept.err()
		}
	}
	// Whether it works is no matter of how large the user wants the guests.
	if row, ok := lookup(t.Name); ok {
		t.MemoryMB, t.CPUs = row.MemoryMB, row.CPUs
	}
	why, err := c.bootTrial(ctx, t.onKVM(), k, trialPatience)
	if err != nil {
		return err
	}
	trial.Why = why
	return errors.Join(trial.err(), c.keep(trial))
}

func (c *Config) kvmFile() string { return filepath.Join(c.Build, "cache", "kvm.json") }

func (c *Config) keep(k kvmTrial) error {
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return os.WriteFile(c.kvmFile(), b, 0o644)
}

func (k kvmTrial) err() error {
	if k.Why == "" {
		return nil
	}
	return errors.New(k.Why)
}

// bootTrial boots a guest that says on its console that it is there, and tells why
// it did not. An error is about something else.
func (c *Config) bootTrial(ctx context.Context, t Target, k supply.Kernel,
	patience time.Duration) (why string, err error) {
	tc := t.Toolchain(c.Dir, filepath.Join(c.Build, "cache"))
	programs, err := (*gobuild.Toolchain)(&tc).Programs(ctx, agentPackage)
	if err != nil {
		return "", err
	}
	image := filepath.Join(c.Build, t.Name, "trial.cpio.gz")
	_, err = initramfs.Build(ctx, initramfs.Spec{
		Toolchain: tc,
		Commands:  []string{},
		Files:     []initramfs.File{{Path: "/init", Host: programs[0].Path, Mode: 0o755}},
		Out:       image,
	})
	if err != nil {
		return "", err
	}
	tctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	args := append([]string{"setpriv", "--pdeathsig", "KILL"}, t.Command(Boot{Kernel: k.Path, Initramfs: image, Append: []string{wire.HereEnv + "=1"}})...)
	cmd := exec.CommandContext(tctx, "setsid", args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case strings.Contains(string(out), wire.Here):
		return "", nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case tctx.Err() != nil:
		return fmt.Sprintf("%s opens, but a guest did not get to user space in %v", kvmDevice, patience), nil
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return fmt.Sprintf("%s opens, but a guest does not work: %v: %.200s", kvmDevice, err, lines[len(lines)-1]), nil
}
