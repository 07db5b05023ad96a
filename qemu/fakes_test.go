package qemu

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

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
	"dawdles": {passed: true, say: func(l *liar) {
		time.Sleep(3 * time.Second)
		l.send(l.honest()...)
		l.done()
	}},
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
		return prints(r, append(bytes.TrimSuffix(results("FAIL", l.chosen(binaries[0])[0]), end("FAIL")),
			results("PASS", l.chosen(binaries[0])...)...))
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
