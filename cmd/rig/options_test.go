package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vspawn/vspawn/initramfs"
	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/qemu"
)

func TestParseOptions(t *testing.T) {
	o, err := parseOptions([]string{
		"TARGETS=riscv64,arm64", "RUN=^TestX$", "SHARD=2/3", "TIMEOUT=90s", "LIMIT=1h", "JOBS=3", "CPUS=1", "MEMORY=64", "VSPAWN_LOAD=1m",
		"KERNEL_arm64=/a=b", "KERNEL_riscv64_nommu=/c", "MODULES_riscv64-nommu=a.ko,b.ko", "ACCEL=tcg", "APPEND=preempt=full a=b", "PATH=/bin", "TARGET=",
		`QEMU_ARGS=-name "a b" -d int`, "GDB=1", "TESTS=1", "MINUTES=7",
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.targets) != 2 || o.targets[0].Name != "riscv64" || o.run != "^TestX$" || o.shard != (qemu.Shard{I: 2, N: 3}) ||
		o.limits != (qemu.Limits{Idle: 90 * time.Second, Total: time.Hour}) || o.jobs != 3 ||
		o.targets[0].CPUs != 1 || o.targets[1].MemoryMB != 64 || !slices.Equal(o.env, []string{"VSPAWN_LOAD=1m"}) ||
		!reflect.DeepEqual(o.kernels, map[string]qemu.GivenFiles{"arm64": {Kernel: "/a=b"},
			"riscv64-nommu": {Kernel: "/c", Modules: []string{"a.ko", "b.ko"}}}) ||
		o.accel != qemu.AccelTCG || o.append != "preempt=full a=b" ||
		!slices.Equal(o.args, []string{"-name", "a b", "-d", "int"}) || !o.gdb || !o.tests || o.minutes != 7 || o.given["RUN"] != "^TestX$" {
		t.Errorf("options: %+v", o)
	}
}

func TestDefaults(t *testing.T) {
	o, err := parseOptions(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.targets) < 3 || o.shard != (qemu.Shard{I: 1, N: 1}) || o.limits.Idle <= 0 || o.limits.Total <= 0 ||
		len(o.kernels) != 0 {
		t.Errorf("options: %+v", o)
	}
}

// TestBadOptions wants one line that holds what was given.
func TestBadOptions(t *testing.T) {
	for _, v := range []string{
		"TARGETS=vax", "SHARD=4/3", "TIMEOUT=soon", "TIMEOUT=-1s", "LIMIT=0", "JOBS=0", "CPUS=0", "CPUS=9", "MEMORY=1", "MEMORY=64M", "JOBS=many", "KERNEL_vax=/x", "MODULES_vax=/x", "ACCEL=hvf", "APPEND=a -- b", "QEMU_ARGS='a", "GDB=yes", "TESTS=2", "MINUTES=0", "MINUTES=1h",
	} {
		_, err := parseOptions([]string{v})
		if !usage.Is(err) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", v, err)
			continue
		}
		_, value, _ := strings.Cut(v, "=")
		if !strings.Contains(err.Error(), value) {
			t.Errorf("%s: the error doesn't say the value: %v", v, err)
		}
	}
}

func TestOne(t *testing.T) {
	for _, tt := range []struct{ env, want string }{
		{"TARGET=arm64", "arm64"},
		{"TARGETS=riscv64", "riscv64"},
		{"TARGETS=riscv64 arm64", ""},
		{"TARGET=vax", ""},
		{"RUN=x", ""},
	} {
		o, err := parseOptions([]string{tt.env})
		if err != nil {
			t.Fatal(err)
		}
		target, err := o.one()
		if target.Name != tt.want || (err == nil) != (tt.want != "") || err != nil && !usage.Is(err) {
			t.Errorf("%s: %q, %v, want %q", tt.env, target.Name, err, tt.want)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errFailed, 1},
		{errors.New("broken"), 1},
		{fmt.Errorf("image: %w", &initramfs.InputError{Err: errors.New("no such package")}), 2},
		{errMissed, 2},
		{mainErr(t.Context(), []string{"dance"}), 2},
		{mainErr(t.Context(), nil), 2},
	} {
		if got := status(tt.err); got != tt.want {
			t.Errorf("status of %v: %d, want %d", tt.err, got, tt.want)
		}
	}
}

// Elsewhere than in the module's folder nothing begins but what needs none of it.
func TestElsewhere(t *testing.T) {
	for _, c := range commands() {
		if c.anywhere {
			continue
		}
		if err := mainErr(t.Context(), []string{c.name}); status(err) != 2 || !strings.Contains(err.Error(), "go.mod") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	t.Chdir(filepath.Join("..", ".."))
	if err := inModule(); err != nil {
		t.Error(err)
	}
}

// A kernel of one's own and a choice of ours exclude each other.
func TestKernelAndKernels(t *testing.T) {
	_, err := parseOptions([]string{"KERNEL_riscv64-nommu=/a", "KERNEL_riscv64_nommu=/b"})
	if !usage.Is(err) || !strings.Contains(err.Error(), "/a") || !strings.Contains(err.Error(), "/b") {
		t.Errorf("error: %v", err)
	}
	_, err = parseOptions([]string{"KERNELS=5.10", "KERNEL_arm64=/a"})
	if !usage.Is(err) || !strings.Contains(err.Error(), "KERNELS=5.10") {
		t.Errorf("error: %v", err)
	}
}

// The run's status: a failure counts more than a kernel that is not to be had, and
// one whose target ran on another counts for nothing.
func TestVerdict(t *testing.T) {
	pass := &qemu.Result{Tests: []*qemu.Test{{Outcome: qemu.Pass}}}
	fail := &qemu.Result{Tests: []*qemu.Test{{Outcome: qemu.Fail}}}
	none := &qemu.Result{NoKernel: "x"}
	excused := &qemu.Result{NoKernel: "x", Excused: true}
	for _, tt := range []struct {
		results []*qemu.Result
		want    error
	}{
		{[]*qemu.Result{pass}, nil},
		{[]*qemu.Result{pass, excused}, nil},
		{[]*qemu.Result{pass, none}, errMissed},
		{[]*qemu.Result{none, excused, fail}, errFailed},
	} {
		if got := verdict(tt.results); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.results, got, tt.want)
		}
	}
}

// What make is told reaches the rig as it was typed, through shells that drop
// variables with a "-" in their names too.
func TestMakePassesOptions(t *testing.T) {
	for _, how := range []string{"argument", "environment"} {
		options := []string{"KERNEL_riscv64-nommu=/a $b", "MODULES_arm64=x.ko,y.ko", "KERNELS=all", "ACCEL=tcg", "VSPAWN_X=1", "CPUS=2", "APPEND=preempt=full a=\"$b c\"", "QEMU_ARGS=-name '$a b'", "GDB=1", "TESTS=1", "MINUTES=5"}
		cmd := exec.Command("make", "-C", filepath.Join("..", ".."), "--no-print-directory", "--eval=show: ; @env", "show")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		if how == "argument" {
			cmd.Args = append(cmd.Args, options...)
		} else {
			cmd.Env = append(cmd.Env, options...)
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{"KERNEL_riscv64_nommu=/a $b", "MODULES_arm64=x.ko,y.ko", "KERNELS=all", "ACCEL=tcg", "VSPAWN_X=1", "CPUS=2", "APPEND=preempt=full a=\"$b c\"", "QEMU_ARGS=-name '$a b'", "GDB=1", "TESTS=1", "MINUTES=5"} {
			if !strings.Contains("\n"+string(out), "\n"+want+"\n") {
				t.Errorf("by %s: no %s in\n%s", how, want, out)
			}
		}
	}
}
