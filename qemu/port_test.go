package qemu

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/vspawn/vspawn/qemu/internal/wire"
)

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
		events := make(chan wire.Record, 10)
		err := readEvents(iotest.OneByteReader(strings.NewReader(x.text)), events)
		if len(events) != x.n || (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%.100q: %d events, %v; want %d, %q", x.text, len(events), err, x.n, x.want)
		}
	}
}
