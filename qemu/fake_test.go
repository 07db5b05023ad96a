package qemu

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// A fake is this test binary in QEMU's place: what it does is in its name. The
// event port, the console and the exit status are as real as QEMU's.
type fake struct {
	say    func(*liar)
	passed bool
	want   string // in the problems
}

// A liar is what a fake has at hand.
type liar struct {
	port   *os.File
	append string // the kernel's arguments
	tests  map[string][]string
}

// binaries are what the image of the fakes' runs holds, in its order.
var binaries = []string{"misbehave", "misbehave[noinline]"}

func (l *liar) send(records ...wire.Record) {
	for _, r := range records {
		l.line(event{Action: actionRecord, Actual: r})
	}
}

func (l *liar) line(e event) {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	l.port.Write(append(b, '\n'))
}

// lists are the records up to the first binary's start.
func (l *liar) lists() []wire.Record {
	rs := []wire.Record{{Kind: wire.Boot, Kernel: "fake"}}
	for _, b := range binaries {
		rs = append(rs, wire.Record{Kind: wire.List, Binary: b, Tests: l.tests[b]})
	}
	return rs
}

// chosen are the tests of a binary in this guest's part.
func (l *liar) chosen(binary string) []string {
	_, shard, _ := strings.Cut(l.append, wire.ShardEnv+"=")
	shard, _, _ = strings.Cut(shard, " ")
	i, n, err := wire.ParseShard(shard)
	if err != nil {
		panic(err)
	}
	s, err := wire.NewSelector("", i, n)
	if err != nil {
		panic(err)
	}
	var chosen []string
	for _, b := range binaries {
		if names := s.Choose(l.tests[b]); b == binary {
			chosen = names
		}
	}
	return chosen
}

// results is the output of a binary whose tests end so.
func results(outcome string, names ...string) []byte {
	var b bytes.Buffer
	for _, name := range names {
		fmt.Fprintf(&b, "\x16=== RUN   %s\n\x16--- %s: %s (0.00s)\n", name, outcome, name)
	}
	b.Write(end(outcome))
	return b.Bytes()
}

// end is how a test binary's output ends.
func end(outcome string) []byte { return fmt.Appendf(nil, "\x16=== NAME  \n\x16%s\n", outcome) }

// runs are the records of one binary.
func runs(binary, status string, output []byte) []wire.Record {
	return []wire.Record{
		{Kind: wire.Start, Binary: binary},
		{Kind: wire.Output, Binary: binary, Data: output},
		{Kind: wire.End, Binary: binary, Status: status},
	}
}

// honest are the records of a whole run in which all pass.
func (l *liar) honest() []wire.Record {
	rs := l.lists()
	for _, b := range binaries {
		rs = append(rs, runs(b, "", results("PASS", l.chosen(b)...))...)
	}
	return append(rs, wire.Record{Kind: wire.Done, Ran: len(binaries)})
}

func (l *liar) done() { l.line(event{Action: actionDone}) }

// fakePrefix begins the names of fakes.
const fakePrefix = "fake-"

// fakeStay is a fake that runs until it is killed. It makes the file that
// fakeStarted names when its tests run.
const (
	fakeStay    = "stays"
	fakeStarted = "QEMU_TEST_STARTED"
)

// fakeLine names a file in which a fake leaves the line that started it.
const fakeLine = "QEMU_TEST_LINE"

// runFake does what the name of this program says.
func runFake(name string, args []string) {
	l := &liar{tests: map[string][]string{}}
	names, err := sourceTests([]string{"testdata/misbehave/misbehave_test.go"})
	if err != nil {
		panic(err)
	}
	slices.Sort(names)
	for _, b := range binaries {
		l.tests[b] = names
	}
	if file := os.Getenv(fakeLine); file != "" {
		line, err := os.ReadFile("/proc/self/cmdline")
		if err == nil {
			err = os.WriteFile(file, line, 0o644)
		}
		if err != nil {
			panic(err)
		}
	}
	for i, a := range args {
		if _, path, ok := strings.Cut(a, ",path="); ok && strings.HasPrefix(a, "file,") {
			if l.port, err = os.OpenFile(path, os.O_WRONLY, 0); err != nil {
				panic(err)
			}
		}
		if a == "-append" {
			l.append = args[i+1]
		}
	}
	if name == fakeStay {
		l.send(l.lists()...)
		l.send(runs(binaries[0], "", results("PASS", l.tests[binaries[0]][:1]...))[:2]...)
		l.send(wire.Record{Kind: wire.Output, Binary: binaries[0], Data: []byte("\x16=== RUN   " + l.tests[binaries[0]][1] + "\n")})
		if err := os.WriteFile(os.Getenv(fakeStarted), nil, 0o644); err != nil {
			panic(err)
		}
		for {
			l.send(wire.Record{Kind: wire.Output, Binary: binaries[0], Data: []byte("    a.go:1: here\n")})
			time.Sleep(10 * time.Millisecond)
		}
	}
	fakes[name].say(l)
}

func TestMain(m *testing.M) {
	if name, ok := strings.CutPrefix(filepath.Base(os.Args[0]), fakePrefix); ok {
		runFake(name, os.Args[1:])
		return
	}
	os.Exit(m.Run())
}

// fakeTarget is a target whose emulator is a fake. Its path has a space, as a user's
// cache may.
func fakeTarget(t *testing.T, dir, name string) Target {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	target, _ := lookup(testTarget)
	target.Series = name
	target.QEMU = filepath.Join(dir, "with a space", fakePrefix+name)
	if err := os.MkdirAll(filepath.Dir(target.QEMU), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, target.QEMU); err != nil {
		t.Fatal(err)
	}
	return target
}

// fakeConfig is a run of fakes, with a kernel that nothing boots.
func fakeConfig(t *testing.T, names ...string) Config {
	t.Helper()
	dir := t.TempDir()
	kernel := filepath.Join(dir, "kernel")
	target, _ := lookup(testTarget)
	m := target.Magic[0]
	if err := os.WriteFile(kernel, append(make([]byte, m.Offset), m.Bytes...), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		out.Close()
		if t.Failed() {
			b, _ := os.ReadFile(out.Name())
			t.Logf("%s", b)
		}
	})
	c := Config{
		Suites:  []Suite{{Package: "./qemu/testdata/misbehave"}},
		Kernels: map[string]GivenFiles{target.Name: {Kernel: kernel}},
		Accel:   AccelTCG,
		Limits:  Limits{Idle: time.Hour, Total: time.Hour},
		Jobs:    2,
		Dir:     "..",
		Build:   filepath.Join(dir, "build"),
		Out:     out,
	}
	// The compilers' and u-root's work is shared with other runs.
	cache, err := filepath.Abs(filepath.Join("..", "build", "cache"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{cache, c.Build} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(cache, filepath.Join(c.Build, "cache")); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		c.Targets = append(c.Targets, fakeTarget(t, dir, name))
	}
	return c
}
