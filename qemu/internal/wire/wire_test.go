package wire

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Whatever a guest has to tell, each record is short enough, and no name is lost.
func TestFit(t *testing.T) {
	const worst = "\x00" // takes six bytes
	var tests, leaked []string
	long := strings.Repeat(worst, 1<<20)
	for i := range 3000 {
		tests = append(tests, fmt.Sprintf("Test%d%s", i, strings.Repeat("x", 1000)))
		leaked = append(leaked, long)
	}
	r := Record{Kind: List, Binary: "b", Tests: tests, Status: long, Leaked: leaked, Data: make([]byte, MaxOutput)}
	var got []string
	all := Fit(r)
	for i, part := range all {
		b, err := json.Marshal(part)
		if err != nil || len(b) > MaxLine-100 {
			t.Errorf("part %d: %d bytes, %v", i, len(b), err)
		}
		if part.More != (i < len(all)-1) || part.Binary != "b" || part.Kind != List {
			t.Errorf("part %d: more %v", i, part.More)
		}
		got = append(got, part.Tests...)
	}
	if !slices.Equal(got, tests) {
		t.Errorf("%d of %d names", len(got), len(tests))
	}
	if n := len(all[0].Leaked); n != maxLeaked+1 || all[0].Leaked[n-1] != "2980 more" || len(leaked[0]) != 1<<20 {
		t.Errorf("%d leaked", n)
	}
	short := Record{Kind: End, Binary: "b", Status: "exit status 1", Leaked: []string{"x"}}
	if all := Fit(short); len(all) != 1 || fmt.Sprint(all[0]) != fmt.Sprint(short) {
		t.Errorf("%+v", all)
	}
}
