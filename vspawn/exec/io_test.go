//go:build linux

package exec

import (
	"io"
	"testing"
)

// An excerpt has both ends, and says how much it has left out.
func TestExcerpt(t *testing.T) {
	for _, c := range []struct {
		in   []string
		want string
	}{
		{nil, ""},
		{[]string{"abc"}, "abc"},
		{[]string{"abcd", "efgh"}, "abcdefgh"},
		{[]string{"abcdefghi"}, "abcd\n... omitting 1 bytes ...\nfghi"},
		{[]string{"a", "bcdefgh", "ijklmnopqrs", "tu", "vwxyz"}, "abcd\n... omitting 18 bytes ...\nwxyz"},
	} {
		e := &excerpt{size: 4}
		for _, s := range c.in {
			if n, err := io.WriteString(e, s); n != len(s) || err != nil {
				t.Error(n, err)
			}
		}
		if got := string(e.bytes()); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}
