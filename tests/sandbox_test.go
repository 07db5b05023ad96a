//go:build linux

package tests

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vspawn/vspawn/internal/testkit/helper"
	"github.com/vspawn/vspawn/internal/testkit/seccomp"
	"github.com/vspawn/vspawn/vspawn"
)

// An elsewhere is a place that this machine can also be: an older kernel, a
// sandbox, an account.
type elsewhere struct {
	name  string
	enter func() error
	left  vspawn.FeatureSet // what there is for vspawn
	tests string            // those for which it makes a difference
}

var withoutClone3 = vspawn.FeatureSet{SharedMemory: true, CloseRangeUnshare: true, CloseRangeCloexec: true,
	LoneCoreDump: true, Pidfd: true}

var elsewheres = []elsewhere{
	{"without clone3", func() error { return seccomp.Deny(unix.ENOSYS, unix.SYS_CLONE3) }, withoutClone3,
		"Features|Descriptors|FailingStep|CancelStep|ParentWaits|UserNamespace|SignalDuringStart|SignalStorm"},
	{"sandbox", func() error { return seccomp.Deny(unix.EPERM, unix.SYS_CLONE3) }, withoutClone3,
		"Features|Descriptors|SignalDuringStart"},
	{"without close_range", func() error { return seccomp.Deny(unix.ENOSYS, unix.SYS_CLOSE_RANGE) },
		vspawn.FeatureSet{Clone3: true, ClearSighand: true, SharedMemory: true, LoneCoreDump: true, Pidfd: true, Autokill: true},
		"Features|Descriptors|OpenedBySyscalls|FilesInherited|InheritFiles|FilesAboveLimit"},
	{"without pidfds", func() error { return seccomp.Deny(unix.ENOSYS, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL) },
		vspawn.FeatureSet{Clone3: true, ClearSighand: true, SharedMemory: true, CloseRangeUnshare: true, CloseRangeCloexec: true, LoneCoreDump: true},
		"Features|Descriptors|Ends|Zombie|StoppedAndContinued|CancelAfter|ParentDiesJustBefore|TracedPoll|TracedBesideWaiter"},
	{"Linux 4.14", func() error {
		return errors.Join(sayOldVersion(),
			seccomp.Deny(unix.ENOSYS, unix.SYS_CLONE3, unix.SYS_CLOSE_RANGE, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL))
	}, vspawn.FeatureSet{SharedMemory: true},
		"Features|Descriptors|Files|FilesInherited|FilesAboveLimit|Ends|StoppedAndContinued|Zombie|FailingStart|" +
			"CancelStep|CancelAfter|ParentUnchanged|UserNamespace|SignalDuringStart|ParentDiesJustBefore|TracedPoll|TracedSignalled"},
	{"ordinary user", func() error {
		if os.Getuid() != 0 {
			return nil
		}
		// In this order: the last gives up the right to the others.
		return errors.Join(unix.Setgroups(nil), unix.Setresgid(1000, 1000, 1000), unix.Setresuid(1000, 1000, 1000))
	}, allFeatures, "Features|Descriptors|FailingPrivilege|Landlock|Open|SeccompIsLast|StartStopped|UserNamespace|SignalDuringStart|ParentDiesJustBefore"},
}

// elsewhereEnv names the elsewhere that a process is in.
const elsewhereEnv = "VSPAWN_TEST_ELSEWHERE"

// elsewhereHelper goes there, and becomes the test binary again.
var elsewhereHelper = helper.New("elsewhere", func(args []string) int {
	for _, e := range elsewheres {
		if e.name != args[0] {
			continue
		}
		runtime.LockOSThread() // for what belongs to a thread
		err := e.enter()
		if err == nil {
			os.Setenv(elsewhereEnv, e.name)
			err = unix.Exec("/proc/self/exe", append(os.Args[:1:1], args[1:]...), os.Environ())
		}
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "there is no elsewhere %q\n", args[0])
	return 2
})

// The same holds on kernels that lack clone3, close_range and pidfds, in
// sandboxes that forbid clone3, and for an ordinary user.
func TestElsewhere(t *testing.T) {
	helper.SkipEmulated(t, "seccomp, and no /proc/self/exe to exec")
	once(t)
	for _, e := range elsewheres {
		t.Run(e.name, func(t *testing.T) {
			if e.name == "sandbox" && dynamic(t) {
				t.Skip("this binary's C library makes no thread when clone3 answers EPERM")
			}
			if e.name == "ordinary user" && os.Getuid() == 0 {
				needCapability(t, unix.CAP_SETUID, "become another")
				helper.MakeReachable() // as it starts itself there
			}
			cmd := elsewhereHelper.Command(e.name, "-test.v", "-test.timeout=0", "-test.run=^Test("+e.tests+")$")
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			err := cmd.Run()
			if passed := repeatResults(t, out.String()); err != nil || passed == 0 {
				t.Errorf("%d tests passed, %v:\n%s", passed, err, &out)
			}
		})
	}
}

// repeatResults gives the results of another run to this one, so that they are
// counted.
func repeatResults(t *testing.T, out string) (passed int) {
	startLine := regexp.MustCompile(`^=== (?:RUN|NAME|CONT) +(\S+)`)
	resultLine := regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \((.*)\)`)
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
			t.Log("took ", m[3])
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

// What the probes find is what there is: on each kernel what its version is
// known to have, no less and no more, but for what is taken away elsewhere. So
// the other tests have run on the path they are for.
func TestFeatures(t *testing.T) {
	helper.SkipEmulated(t, "clone3, nor a vfork that shares memory")
	got, err := vspawn.Features()
	if err != nil {
		t.Fatal(err)
	}
	left := allFeatures
	for _, e := range elsewheres {
		if e.name == os.Getenv(elsewhereEnv) {
			left = e.left
		}
	}
	for _, f := range []struct {
		name         string
		major, minor int // which had it first
		got, left    bool
	}{
		{"Clone3", 5, 3, got.Clone3, left.Clone3},
		{"ClearSighand", 5, 5, got.ClearSighand, left.ClearSighand},
		{"SharedMemory", 0, 0, got.SharedMemory, left.SharedMemory},
		{"CloseRangeUnshare", 5, 9, got.CloseRangeUnshare, left.CloseRangeUnshare},
		{"CloseRangeCloexec", 5, 11, got.CloseRangeCloexec, left.CloseRangeCloexec},
		{"LoneCoreDump", 5, 16, got.LoneCoreDump, left.LoneCoreDump},
		{"MMU", 0, 0, got.MMU, !strings.Contains(os.Getenv("VSPAWN_TARGET"), "nommu")},
		{"Pidfd", 5, 4, got.Pidfd, left.Pidfd},
		{"Autokill", 7, 1, got.Autokill, left.Autokill},
	} {
		if want := f.left && newEnough(f.major, f.minor); f.got != want {
			t.Errorf("%s (Linux %d.%d) is %t, want %t", f.name, f.major, f.minor, f.got, want)
		}
	}
	t.Logf("%+v", got)
}

var allFeatures = vspawn.FeatureSet{Clone3: true, ClearSighand: true, SharedMemory: true,
	CloseRangeUnshare: true, CloseRangeCloexec: true, LoneCoreDump: true, Pidfd: true, Autokill: true}

// sayOldVersion has the kernel call itself 2.6 in this process, and in those
// that it starts.
func sayOldVersion() error {
	const uname26 = 0x0020000 // include/uapi/linux/personality.h
	now, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, 1<<32-1, 0, 0)
	if errno == 0 {
		_, _, errno = unix.RawSyscall(unix.SYS_PERSONALITY, now|uname26, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
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
