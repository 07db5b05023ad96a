//go:build linux

package exec

import (
	osexec "os/exec"
	"slices"
	"strings"
	"testing"
)

// Of a variable's values the last one counts, where it stands.
func TestUnique(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"A=1 B=2 A=3", "B=2 A=3"},
		{"A=1 a=2", "A=1 a=2"},
		{"=C:=1 =D:=2 =C:=3", "=D:=2 =C:=3"},
		{"none A=1 none", "none A=1 none"},
		{"=x =x A=", "=x A="},
	} {
		got, err := unique(strings.Fields(c.in))
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("unique(%s): got %s, %v, want %s", c.in, got, err, c.want)
		}
		std := (&osexec.Cmd{Env: strings.Fields(c.in)}).Environ()
		if !slices.Equal(got, std) {
			t.Errorf("%s: got %q, os/exec gives %q", c.in, got, std)
		}
	}
	if got, err := unique([]string{"A=1", "B=\x00", "A=2\x00", ""}); err == nil || !slices.Equal(got, []string{"A=1"}) {
		t.Errorf("got %q, %v", got, err)
	}
}
