package qemu

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

// What a guest sends last is judged as well as what it sends first: the error comes
// in its place, before the end.
func TestEventPortTellsLast(t *testing.T) {
	events := make(chan received)
	all := unbounded(events)
	go func() {
		defer close(events)
		if err := readEvents(strings.NewReader("PASS\n"), events); err != nil {
			events <- received{err: err}
		}
	}()
	if r, ok := <-all; !ok || r.err == nil {
		t.Errorf("%+v, %v; want the error", r, ok)
	}
	if r, ok := <-all; ok {
		t.Errorf("%+v behind the last", r)
	}
}

// What is no event ends the reading with a reason.
func TestReadEvents(t *testing.T) {
	line := func(e event) string {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	boot, done := line(event{Action: actionRecord, Actual: wire.Record{Kind: wire.Boot}}), line(event{Action: actionDone})
	long := line(event{Action: actionRecord, Actual: wire.Record{Status: strings.Repeat("x", wire.MaxLine)}})
	almost := line(event{Action: actionRecord, Actual: wire.Record{Status: strings.Repeat("x", wire.MaxLine-200)}})
	for _, x := range []struct {
		text string
		n    int
		want string
	}{
		{"", 0, ""},
		{boot + boot + done, 2, ""},
		{boot + almost, 2, ""},
		{boot + `{"hugelgupf`, 1, ""},
		{boot + long + boot, 1, "more than 1048576 bytes"},
		{boot + "PASS\n" + boot, 1, `no event: invalid character 'P' looking for beginning of value: "PASS\n"`},
		{boot + "{}\n", 1, `no event: action ""`},
		{boot + done + done, 1, "more after it had said"},
		{boot + done + boot, 1, "more after it had said"},
	} {
		events := make(chan received, 10)
		err := readEvents(iotest.OneByteReader(strings.NewReader(x.text)), events)
		if len(events) != x.n || (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%.100q: %d events, %v; want %d, %q", x.text, len(events), err, x.n, x.want)
		}
	}
}
