package qemu

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// fuzzed judges a guest that has sent b over its port and said text on its console.
func fuzzed(t *testing.T, test2json string, b []byte, text string) (*Result, []wire.Record) {
	t.Helper()
	s := fakeSession(t, test2json, text)
	events, read := make(chan received), make(chan error, 1)
	go func() {
		read <- readEvents(bytes.NewReader(b), events)
		close(events)
	}()
	var taken []wire.Record
	gaveUp := false
	for e := range events {
		if gaveUp {
			continue
		}
		if err := s.record(e.Record); err != nil {
			s.res.problem("%v", err)
			gaveUp = true
		}
		taken = append(taken, e.Record)
	}
	if err := <-read; err != nil {
		s.res.problem("%v", err)
		gaveUp = true
	}
	return endFake(t, s, nil, gaveUp), taken
}

// asSent is how records come over the port.
func asSent(t testing.TB, records []wire.Record) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, r := range records {
		line, err := json.Marshal(event{actionRecord, r})
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.Bytes()
}

// Whatever a guest sends and says, the rig survives it, and takes for a pass only what
// is one: each binary listed, started and ended well, its test said to have passed, and
// the closing record the last.
func FuzzRecords(f *testing.F) {
	test2json, err := findTest2JSON()
	if err != nil {
		f.Fatal(err)
	}
	for _, v := range verdicts {
		if b := asSent(f, v.records); len(b)+len(v.console) < 1<<16 { // the rest is slow
			f.Add(b, v.console)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, text string) {
		res, records := fuzzed(t, test2json, b, text)
		if !res.Passed() {
			return
		}
		var kinds []string
		var output []byte
		for _, r := range records {
			if kinds = append(kinds, string(r.Kind)); r.Kind == wire.Output {
				output = append(output, r.Data...)
			}
			if r.Kind == wire.End && r.Status != "" || r.Kind == wire.Broken || r.Kind == wire.Hung {
				t.Errorf("a pass in spite of %+v", r)
			}
		}
		kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == string(wire.Output) })
		order := strings.Join(slices.Compact(kinds), " ") // a list may come in several
		if order != "boot list start end done" || !bytes.Contains(output, []byte("--- PASS: TestA")) &&
			!bytes.Contains(output, []byte("--- SKIP: TestA")) {
			t.Errorf("a pass of %s: %q", order, output)
		}
	})
}
