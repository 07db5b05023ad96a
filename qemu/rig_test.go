package qemu

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vspawn/vspawn/initramfs"
	"github.com/vspawn/vspawn/internal/host"
	"github.com/vspawn/vspawn/internal/supply"
	"github.com/vspawn/vspawn/internal/usage"
	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// The rig's own tests run real guests, of the target that boots fastest.
const testTarget = "arm64"

// A guestTest is a guest of the rig's own tests.
type guestTest struct {
	run    string        // -test.run
	init   string        // "" is the agent
	kernel string        // path; "" is the target's own, with its modules
	serial string        // device of the event port; "" is the target's own
	idle   time.Duration // for the guest; 0 is long
	limits Limits        // zero is long
	ctx    context.Context
}

var testPayload = sync.OnceValues(func() (payload, error) {
	return compile(context.Background(), testToolchain(), []Suite{{
		Package:  "./qemu/testdata/misbehave",
		Commands: []string{"./qemu/testdata/silent"},
	}}, false)
})

func testToolchain() initramfs.Toolchain {
	target, _ := lookup(testTarget)
	return initramfs.Toolchain{GOARCH: target.GOARCH, Dir: "..", CacheDir: filepath.Join("..", "build", "cache")}
}

func (g guestTest) start(t *testing.T) *Result {
	t.Helper()
	target, ok := lookup(testTarget)
	if !ok {
		t.Fatalf("no target %s", testTarget)
	}
	if g.serial != "" {
		target.Serial = g.serial
	}
	if g.ctx == nil {
		g.ctx = t.Context()
	}
	if g.limits == (Limits{}) {
		g.limits = Limits{Idle: 2 * time.Minute, Total: 10 * time.Minute}
	}
	if g.idle == 0 {
		g.idle = g.limits.Idle
	}
	if g.init == "" {
		g.init = agentInit
	}
	var modules []string
	if g.kernel == "" {
		k := testKernel(t, target)
		g.kernel, modules = k.Path, k.Modules
	}
	load, err := testPayload()
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	plan := wire.Plan{Target: target.Name, Run: g.run, Idle: g.idle}
	if err := load.image(t.Context(), testToolchain(), plan, image); err != nil {
		t.Fatal(err)
	}
	if err := initramfs.Extend(image, moduleFiles(modules), image); err != nil {
		t.Fatal(err)
	}
	test2json, err := findTest2JSON()
	if err != nil {
		t.Fatal(err)
	}
	con, err := newConsole(filepath.Join(t.TempDir(), "console.log"))
	if err != nil {
		t.Fatal(err)
	}
	selector, err := wire.NewSelector(g.run, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	s := session{
		target: target, limits: g.limits, test2json: test2json, console: con, output: io.Discard, report: func(Status) {},
		suites: load.suites, selector: selector,
	}
	r := s.run(g.ctx, Boot{Kernel: g.kernel, Initramfs: image, Init: g.init})
	r.conclude(false)
	var text bytes.Buffer
	Summarize(&text, []*Result{r}, map[string]string{"RUN": g.run})
	t.Logf("%s", &text)
	return r
}

// testKernel is a target's own kernel. The rig's check says so once if there is
// none, and what then can't run.
func testKernel(t *testing.T, target Target) supply.Kernel {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv(MissingEnv), ","), target.Name) {
		t.Skipf("no kernel or no emulator for %s: the rig has said why", target.Name)
	}
	if !slices.Contains(OwnTests, target.Name) {
		t.Fatalf("OwnTests lacks %s", target.Name)
	}
	if err := host.CheckTools(Tools([]Target{target})); err != nil {
		t.Fatal(err)
	}
	store, err := supply.DefaultStore()
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	k, err := store.Get(t.Context(), target.Kernel, false, func(string, string) {})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// wantProblem demands a failed verdict that says what pattern matches.
func wantProblem(t *testing.T, r *Result, pattern string) {
	t.Helper()
	if r.Passed() {
		t.Error("the verdict is a pass")
	}
	if !regexp.MustCompile(pattern).MatchString(strings.Join(r.Problems, "\n")) {
		t.Errorf("no problem matches %q; problems: %q", pattern, r.Problems)
	}
}

func wantCounts(t *testing.T, r *Result, pass, fail, skip, unfinished int) {
	t.Helper()
	got := [...]int{r.Count(Pass), r.Count(Fail), r.Count(Skip), r.Count(Unfinished)}
	if want := [...]int{pass, fail, skip, unfinished}; got != want {
		t.Errorf("passed, failed, skipped, unfinished: %v, want %v", got, want)
	}
}

func TestGuestPasses(t *testing.T) {
	r := guestTest{run: "^(TestPass|TestSkip)$"}.start(t)
	if !r.Passed() {
		t.Errorf("failed: %q", r.Problems)
	}
	wantCounts(t, r, 2, 0, 2, 0) // with inlining and without
	if r.Boot <= 0 || r.Kernel == "" {
		t.Errorf("boot time %v, kernel %q", r.Boot, r.Kernel)
	}
	for _, test := range r.Tests {
		if test.Outcome == Skip && test.Reason() != "no reason to run" {
			t.Errorf("reason for the skip: %q", test.Reason())
		}
	}
}

func TestGuestFails(t *testing.T) {
	r := guestTest{run: "^TestFail$/^sub$"}.start(t)
	if r.Passed() || len(r.Problems) > 0 {
		t.Errorf("passed: %v, problems: %q; want a plain failure", r.Passed(), r.Problems)
	}
	wantCounts(t, r, 0, 4, 0, 0)
}

func TestGuestPanics(t *testing.T) {
	r := guestTest{run: "^(TestPass|TestPanic)$"}.start(t)
	wantProblem(t, r, `the console says: .*Kernel panic`)
	wantProblem(t, r, `without its closing record, in misbehave TestPanic$`)
	wantCounts(t, r, 1, 0, 0, 1)
}

func TestGuestLosesInit(t *testing.T) {
	r := guestTest{run: "^TestLoseInit$"}.start(t)
	wantProblem(t, r, `the console says: .*Attempted to kill init`)
	wantProblem(t, r, `without its closing record, in misbehave TestLoseInit$`)
}

func TestGuestNeverSpeaks(t *testing.T) {
	idle := 5 * time.Second
	if os.Getenv(untilKilled) != "" {
		idle = time.Hour
	}
	r := guestTest{init: "/bin/silent", limits: Limits{Idle: idle, Total: time.Hour}}.start(t)
	wantProblem(t, r, `hangs: no event for .*, from the start of QEMU on`)
}

// A kernel that has no driver for the port's device, as it would be with one of the
// user's own, is told by the guest itself, and long before a guest is given up.
func TestGuestHasNoPort(t *testing.T) {
	if wire.Patience >= 10*time.Second {
		t.Errorf("the agent waits %v for its port, and shall speak within ten seconds", wire.Patience)
	}
	r := guestTest{run: "^TestPass$", serial: "virtio-serial-device", limits: Limits{Idle: time.Hour, Total: time.Hour}}.start(t)
	wantProblem(t, r, `^the guest ended before its first event: no event port: the kernel finds no virtio device .*MODULES_arm64=`)
}

// TestGuestTestHangs wants the stack of the hanging test too.
func TestGuestTestHangs(t *testing.T) {
	r := guestTest{run: "^TestHang$", idle: 5 * time.Second}.start(t)
	wantProblem(t, r, `misbehave hangs: silent for .*, in misbehave TestHang`)
	wantProblem(t, r, `misbehave\[noinline\] hangs`) // the guest went on
	wantCounts(t, r, 0, 0, 0, 2)
	if out := strings.Join(r.Tests[0].Output, "\n"); !strings.Contains(out, "misbehave.TestHang(") {
		t.Errorf("no stack of TestHang in:\n%s", out)
	}
}

func TestGuestRunsNoTest(t *testing.T) {
	r := guestTest{run: "^TestNobody$"}.start(t)
	wantProblem(t, r, `no test was chosen`)
	wantCounts(t, r, 0, 0, 0, 0)
}

func TestGuestOnlySkips(t *testing.T) {
	r := guestTest{run: "^TestSkip$"}.start(t)
	wantProblem(t, r, `no test passed: 2 skipped`)
}

func TestGuestExitsEarly(t *testing.T) {
	r := guestTest{run: "^(TestExit|TestLeak)$"}.start(t)
	wantProblem(t, r, `left these processes behind`)
	wantCounts(t, r, 2, 0, 0, 2)
}

// TestGuestLeaksChild has a child that would hold the output for an hour.
func TestGuestLeaksChild(t *testing.T) {
	r := guestTest{run: "^TestLeak$"}.start(t)
	wantProblem(t, r, `misbehave left these processes behind: pid \d+: /proc/self/exe`)
	wantCounts(t, r, 2, 0, 0, 0)
}

// TestGuestOverTime has a limit that no boot can meet.
func TestGuestOverTime(t *testing.T) {
	r := guestTest{run: "^TestPass$", limits: Limits{Idle: time.Hour, Total: 100 * time.Millisecond}}.start(t)
	wantProblem(t, r, `not finished after 100ms, from the start of QEMU on`)
}

func TestGuestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(3*time.Second, cancel)
	r := guestTest{run: "^TestHang$", ctx: ctx}.start(t)
	wantProblem(t, r, `^interrupted, (from the start of QEMU on|with no test running|in misbehave TestHang)$`)
}

// TestKernelIsNone has a file that is told by its looks, and one that only
// shows when it runs.
func TestKernelIsNone(t *testing.T) {
	target, _ := lookup(testTarget)
	file := filepath.Join(t.TempDir(), "kernel")
	rubbish := bytes.Repeat([]byte("no kernel "), 1000)
	if err := os.WriteFile(file, rubbish, 0o600); err != nil {
		t.Fatal(err)
	}
	err := GivenFiles{Kernel: file}.check(target)
	if !usage.Is(err) || !strings.Contains(err.Error(), "is no kernel image for this machine") {
		t.Errorf("error: %v", err)
	}

	copy(rubbish[target.Magic[0].Offset:], target.Magic[0].Bytes)
	if err := os.WriteFile(file, rubbish, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (GivenFiles{Kernel: file}).check(target); err != nil {
		t.Fatal(err)
	}
	r := guestTest{run: "^TestPass$", kernel: file, limits: Limits{Idle: 2 * time.Second, Total: time.Hour}}.start(t)
	wantProblem(t, r, `from the start of QEMU on|before its first event`)
}
