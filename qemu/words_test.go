package qemu

import (
	"slices"
	"strings"
	"testing"

	"github.com/vspawn/vspawn/internal/usage"
)

// What would make something else of the part's argument is refused.
func TestParseAppend(t *testing.T) {
	for s, want := range map[string]string{"": "", " ": "", " preempt=full  quiet ": "preempt=full  quiet", `a="b -- c"x`: ""} {
		got, err := ParseAppend(s)
		if want != got || (err != nil) != (strings.Contains(s, "--")) {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"a\nb", `a="b`, "a -- b", "--", strings.Repeat("a", maxAppend+1)} {
		if _, err := ParseAppend(s); !usage.Is(err) || !strings.Contains(err.Error(), "APPEND=") {
			t.Errorf("%q: error %v", s, err)
		}
	}
}

// QEMU's arguments are parted as a shell does it.
func TestParseArgs(t *testing.T) {
	for _, x := range []struct {
		s    string
		want []string
	}{
		{"", nil},
		{" \t", nil},
		{"-d int", []string{"-d", "int"}},
		{"  -d\tint  ", []string{"-d", "int"}},
		{`-name "a b"`, []string{"-name", "a b"}},
		{`-name 'a "b'`, []string{"-name", `a "b`}},
		{`a'b c'"d e"f`, []string{"ab cd ef"}},
		{`a\ b \"c\\`, []string{"a b", `"c\`}},
		{`"a\"b\$c\d" 'a\b'`, []string{`a"b$c\d`, `a\b`}},
		{`"" '' x`, []string{"", "", "x"}},
		{"a\\\nb", []string{"ab"}},
		{"-D a\xff\u00a0b '\xe9'", []string{"-D", "a\xff\u00a0b", "\xe9"}}, // as a file may be called
		{"$HOME *;", []string{"$HOME", "*;"}},
	} {
		got, err := ParseArgs(x.s)
		if err != nil || !slices.Equal(got, x.want) {
			t.Errorf("%s: %q, %v; want %q", x.s, got, err, x.want)
		}
	}
	for _, s := range []string{`'`, `"a b`, `a'b`, `'a"`, `"a\"`, `a\`} {
		if got, err := ParseArgs(s); !usage.Is(err) || !strings.Contains(err.Error(), "QEMU_ARGS="+s) {
			t.Errorf("%s: %q, error %v", s, got, err)
		}
	}
}
