//go:build linux

package tests

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/tests/helper"
	"github.com/vspawn/vspawn/tests/seccomp"
	"github.com/vspawn/vspawn/vspawn"
	"golang.org/x/sys/unix"
)

// olderKernels are what a filter makes of the running one, and the features
// that are left.
var olderKernels = []struct {
	name    string
	errno   unix.Errno
	missing []uint32
	left    vspawn.FeatureSet
}{
	{"clone3 ENOSYS", unix.ENOSYS, []uint32{unix.SYS_CLONE3},
		vspawn.FeatureSet{SharedMemory: true, CloseRangeUnshare: true, CloseRangeCloexec: true, Pidfd: true}},
	{"clone3 EPERM", unix.EPERM, []uint32{unix.SYS_CLONE3},
		vspawn.FeatureSet{SharedMemory: true, CloseRangeUnshare: true, CloseRangeCloexec: true, Pidfd: true}},
	{"Linux 4.14", unix.ENOSYS, []uint32{unix.SYS_CLONE3, unix.SYS_CLOSE_RANGE, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL},
		vspawn.FeatureSet{SharedMemory: true}},
}

// onOlderKernels are the tests that run there again: those of which some part
// takes another path.
const onOlderKernels = "^(TestFeatures|TestAttributes|TestFiles.*|TestFailingStep|TestFailingStart|TestCancel.*|" +
	"TestParentWaits|TestParentUnchanged|TestEnds|TestStoppedAndContinued|TestZombie|TestUserNamespace|TestSignal.*)$"

// kernelEnv names the row of olderKernels that a process runs under.
const kernelEnv = "VSPAWN_TEST_KERNEL"

// olderKernel becomes the test binary again, with a filter that stays.
var olderKernel = helper.New("older-kernel", func(args []string) int {
	for _, k := range olderKernels {
		if k.name != args[0] {
			continue
		}
		if err := seccomp.Deny(k.errno, k.missing...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		err := unix.Exec("/proc/self/exe", append(os.Args[:1:1], args[1:]...), append(os.Environ(), kernelEnv+"="+k.name))
		fmt.Fprintln(os.Stderr, "execve:", err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "there is no older kernel %q\n", args[0])
	return 2
})

// The same holds on kernels that lack clone3, close_range and pidfds, and in
// sandboxes that forbid clone3.
func TestOlderKernels(t *testing.T) {
	helper.SkipEmulated(t, "seccomp")
	if os.Getenv(kernelEnv) != "" {
		t.Fatal("runs itself")
	}
	for _, k := range olderKernels {
		t.Run(k.name, func(t *testing.T) {
			if k.errno != unix.ENOSYS && dynamic(t) {
				t.Skip("this binary's C library makes no thread without clone3")
			}
			cmd := olderKernel.Command(k.name, "-test.v", "-test.timeout=0", "-test.run="+onOlderKernels)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			err := cmd.Run()
			if passed := repeatResults(t, out.String()); err != nil || passed == 0 {
				t.Errorf("%d tests passed, %v:\n%s", passed, err, &out)
			}
		})
	}
}

var (
	startLine  = regexp.MustCompile(`^=== (?:RUN|NAME|CONT) +(\S+)`)
	resultLine = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) `)
)

// repeatResults gives the results of another run to this one, so that they are
// counted.
func repeatResults(t *testing.T, out string) (passed int) {
	logs := map[string]string{} // by test
	var current string
	for line := range strings.Lines(out) {
		if m := startLine.FindStringSubmatch(line); m != nil {
			current = m[1]
			continue
		}
		m := resultLine.FindStringSubmatch(line)
		if m == nil {
			logs[current] += line
			continue
		}
		t.Run(m[2], func(t *testing.T) {
			switch log := strings.TrimSpace(logs[m[2]]); m[1] {
			case "FAIL":
				t.Error(log)
			case "SKIP":
				t.Skip(log)
			default:
				passed++
			}
		})
	}
	return passed
}

// What the probes find is what there is: all on a kernel new enough, and less
// under each filter. So the other tests have run on the path they are for.
func TestFeatures(t *testing.T) {
	got, err := vspawn.Features()
	if err != nil {
		t.Fatal(err)
	}
	want := vspawn.FeatureSet{Clone3: true, ClearSighand: true, SharedMemory: true,
		CloseRangeUnshare: true, CloseRangeCloexec: true, Pidfd: true}
	for _, k := range olderKernels {
		if k.name == os.Getenv(kernelEnv) {
			want = k.left
		}
	}
	helper.SkipEmulated(t, "clone3, nor a vfork that shares memory")
	if !newEnough(5, 11) {
		t.Skip("this kernel is older than 5.11, so something is missing")
	}
	if got != want {
		t.Errorf("Features() = %+v, want %+v", got, want)
	}
}

func newEnough(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var ma, mi int
	fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &ma, &mi)
	return ma > major || ma == major && mi >= minor
}
