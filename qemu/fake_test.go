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

// with sends the records of an honest run with a change to each; false leaves one
// out.
func with(change func(l *liar, r *wire.Record) bool) func(*liar) {
	return func(l *liar) {
		for _, r := range l.honest() {
			if change(l, &r) {
				l.send(r)
			}
		}
		l.done()
	}
}

func last(r *wire.Record) bool { return r.Binary == binaries[1] }

var fakes = map[string]fake{
	"honest": {passed: true, say: with(func(*liar, *wire.Record) bool { return true })},
	// One that is given more arguments for its kernel, after ours and before the part.
	"appends": {want: "without its closing record", say: func(l *liar) {
		if rs := l.honest(); strings.Contains(l.append, " mitigations=off rdinit="+agentInit+" preempt=full a=\"b c\" "+wire.ShardEnv+"=") {
			l.send(rs...)
			l.done()
		} else {
			l.send(rs[0])
		}
	}},
	"fails-in-part-2": {say: func(l *liar) {
		rs := l.honest()
		if strings.Contains(l.append, wire.ShardEnv+"=2/") {
			rs[len(rs)-3].Data = results("FAIL", l.chosen(binaries[1])...)
			rs[len(rs)-2].Status = "exit status 1"
		}
		l.send(rs...)
		l.done()
	}},
	"lists-in-reverse": {passed: true, say: func(l *liar) { // by which each part would choose its own half
		rs := l.honest()
		for i, r := range rs {
			if r.Kind == wire.List && strings.Contains(l.append, wire.ShardEnv+"=2/") {
				rs[i].Tests = slices.Clone(r.Tests)
				slices.Reverse(rs[i].Tests)
			}
		}
		l.send(rs...)
		l.done()
	}},
	"lists-one-twice": {want: "of which 1 are the same", say: with(func(_ *liar, r *wire.Record) bool {
		if r.Kind == wire.List {
			r.Tests = append(slices.Clone(r.Tests), r.Tests[0])
		}
		return true
	})},
	"fails-then-passes": {want: "ran these more than once: Test", say: with(func(l *liar, r *wire.Record) bool {
		return prints(r, append(bytes.TrimSuffix(results("FAIL", l.chosen(binaries[0])[0]), end("FAIL")), results("PASS", l.chosen(binaries[0])...)...))
	})},
	"says-FAIL-at-its-end": {want: "did not say PASS at its end", say: with(func(l *liar, r *wire.Record) bool {
		return prints(r, append(bytes.TrimSuffix(results("PASS", l.chosen(binaries[0])...), end("PASS")), end("FAIL")...))
	})},
	"sends-rubbish-and-stays": {want: "the guest sent what is no event", say: func(l *liar) {
		l.send(l.lists()...)
		fmt.Fprintln(l.port, "PASS")
		time.Sleep(time.Hour)
	}},
	"says-nothing":         {say: func(*liar) {}, want: "ended before its first event"},
	"boots-only":           {say: func(l *liar) { l.send(l.lists()[0]) }, want: "without its closing record"},
	"ends-while-it-lists":  {say: func(l *liar) { l.send(l.lists()[:2]...) }, want: "without its closing record"},
	"lists-nothing":        {want: "misbehave lists 0 tests, and not Test", say: with(func(_ *liar, r *wire.Record) bool { r.Tests = nil; return true })},
	"one-lists-nothing":    {want: `misbehave[noinline] lists 0 tests, and not Test`, say: oneListsNothing},
	"lists-too-few":        {want: "which its source has", say: with(func(_ *liar, r *wire.Record) bool { r.Tests = r.Tests[:len(r.Tests)/2]; return true })},
	"lists-too-many":       {want: "lists TestNobody, which its source has not", say: with(func(_ *liar, r *wire.Record) bool { return more(r) })},
	"lists-only":           {want: "the guest ran none of the", say: listsOnly},
	"skips-the-lists":      {want: "which was not to be started then", say: with(func(_ *liar, r *wire.Record) bool { return r.Kind != wire.List })},
	"runs-one-of-two":      {want: `ran none of the 8 tests of misbehave[noinline]`, say: with(func(_ *liar, r *wire.Record) bool { return r.Kind == wire.List || !last(r) })},
	"runs-one-and-owns-up": {want: `ran none of the 8 tests of misbehave[noinline]`, say: with(ownsUp)},
	"prints-nothing":       {want: "did not run 8 of its tests", say: with(func(_ *liar, r *wire.Record) bool { return r.Kind != wire.Output })},
	"prints-pass-only":     {want: "did not run 8 of its tests", say: with(func(_ *liar, r *wire.Record) bool { return prints(r, []byte("\x16PASS\n")) })},
	"prints-half":          {want: "did not run 4 of its tests", say: with(func(l *liar, r *wire.Record) bool { return prints(r, results("PASS", l.chosen(binaries[0])[:4]...)) })},
	"stops-in-a-test":      {want: "", say: with(func(l *liar, r *wire.Record) bool { return prints(r, unfinished(l.chosen(binaries[0]))) })},
	"passes-another-test": {want: "ran what was not to run: TestGhost", say: with(func(l *liar, r *wire.Record) bool {
		return prints(r, results("PASS", append(slices.Clone(l.chosen(binaries[0])), "TestGhost")...))
	})},
	"hides-a-status":         {want: "", say: with(func(l *liar, r *wire.Record) bool { return prints(r, results("FAIL", l.chosen(binaries[0])...)) })},
	"fails-with-all-passed":  {want: "ended with exit status 1", say: with(func(_ *liar, r *wire.Record) bool { return status(r, "exit status 1") })},
	"is-killed":              {want: "ended with killed by SIGKILL", say: with(func(_ *liar, r *wire.Record) bool { return status(r, "killed by SIGKILL") })},
	"counts-wrong":           {want: "says it ran 1 binaries; 2 came to an end", say: with(func(_ *liar, r *wire.Record) bool { r.Ran /= 2; return true })},
	"forgets-to-close":       {want: "without its closing record", say: with(func(_ *liar, r *wire.Record) bool { return r.Kind != wire.Done })},
	"runs-a-stranger":        {want: "the guest started stranger", say: with(func(_ *liar, r *wire.Record) bool { return stranger(r) })},
	"goes-on-after-its-end":  {want: "after it had said that it is done", say: func(l *liar) { l.send(l.honest()...); l.done(); l.send(l.lists()[0]) }},
	"is-done-twice":          {want: "after it had said that it is done", say: func(l *liar) { l.send(l.honest()...); l.done(); l.done() }},
	"closes-twice":           {want: "after its closing record", say: func(l *liar) { rs := l.honest(); l.send(append(rs, rs[len(rs)-1])...) }},
	"writes-no-json":         {want: "the guest sent what is no event", say: func(l *liar) { fmt.Fprintln(l.port, "PASS"); l.send(l.honest()...); l.done() }},
	"writes-another-event":   {want: "the guest sent what is no event", say: func(l *liar) { l.line(event{Action: "pass"}); l.send(l.honest()...); l.done() }},
	"writes-half-a-line":     {want: "without its closing record", say: func(l *liar) { l.send(l.lists()...); fmt.Fprint(l.port, `{"hugelgupf_vm`) }},
	"writes-a-very-long-one": {want: "the guest sent an event of more than", say: veryLong},
	"panics-at-the-end":      {want: "the console says: Kernel panic", say: func(l *liar) { l.send(l.honest()...); l.done(); fmt.Println("Kernel panic - not syncing") }},
	"exits-badly":            {want: "QEMU: exit status 3", say: func(l *liar) { l.send(l.honest()...); l.done(); os.Exit(3) }},
	"leaks":                  {want: "left these processes behind: pid 9: x", say: with(func(_ *liar, r *wire.Record) bool { return leaks(r) })},
}

func oneListsNothing(l *liar) {
	rs := l.lists()
	rs[2].Tests = nil
	l.send(rs...)
	l.send(runs(binaries[0], "", results("PASS", l.chosen(binaries[0])...))...)
	l.send(wire.Record{Kind: wire.Done, Ran: 1})
	l.done()
}

func listsOnly(l *liar) {
	l.send(l.lists()...)
	l.send(wire.Record{Kind: wire.Done})
	l.done()
}

func veryLong(l *liar) {
	rs := l.honest()
	rs[4].Data = bytes.Repeat([]byte("x"), wire.MaxLine)
	l.send(rs...)
	l.done()
}

func more(r *wire.Record) bool {
	if r.Kind == wire.List {
		r.Tests = append(slices.Clone(r.Tests), "TestNobody")
	}
	return true
}

func ownsUp(_ *liar, r *wire.Record) bool {
	r.Ran /= 2
	return r.Kind == wire.List || !last(r)
}

func prints(r *wire.Record, output []byte) bool {
	if r.Kind == wire.Output {
		r.Data = output
	}
	return true
}

// unfinished is the output of a binary that ends in its last test.
func unfinished(names []string) []byte {
	n := len(names) - 1
	return append(bytes.TrimSuffix(results("PASS", names[:n]...), end("PASS")), "\x16=== RUN   "+names[n]+"\n"...)
}

func status(r *wire.Record, s string) bool {
	if r.Kind == wire.End && last(r) {
		r.Status = s
	}
	return true
}

func stranger(r *wire.Record) bool {
	if r.Kind == wire.Start {
		r.Binary = "stranger"
	}
	return true
}

func leaks(r *wire.Record) bool {
	if r.Kind == wire.End {
		r.Leaked = []string{"pid 9: x"}
	}
	return true
}

// fakePrefix begins the names of fakes.
const fakePrefix = "fake-"

// fakeStay is a fake that runs until it is killed. It makes the file that
// fakeStarted names when its tests run.
const (
	fakeStay    = "stays"
	fakeStarted = "QEMU_TEST_STARTED"
)

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
